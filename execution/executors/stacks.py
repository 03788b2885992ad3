"""What the processes of a training do at this moment: the stacks of all threads, by py-spy.

https://github.com/benfred/py-spy. It reads another process's memory, which the kernel allows root,
and others only where kernel.yama.ptrace_scope is 0.
"""

from __future__ import annotations

import subprocess
import sysconfig
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import psutil

MAX_PROCESSES: Final = 256
DUMP_SECONDS: Final = 20.0  # for the stacks of one process
TOTAL_SECONDS: Final = 60.0  # for those of all
PY_SPY: Final = Path(sysconfig.get_path("scripts")) / "py-spy"


def stacks_of(processes: Iterable[psutil.Process]) -> str:
    """A text with each process's state and, if it runs Python, the stacks of its threads; or why
    they cannot be read. Returns after TOTAL_SECONDS with what has been read by then."""
    texts: list[str] = []
    is_late = threading.Event()

    def read() -> None:
        for process in list(processes)[:MAX_PROCESSES]:
            for text in _described(process):
                if is_late.is_set():
                    return
                texts.append(text)

    # In a thread: the kernel may not answer what is asked of a process that is stuck in it.
    reading = threading.Thread(target=read, name="stacks", daemon=True)
    reading.start()
    reading.join(TOTAL_SECONDS)
    if reading.is_alive():
        is_late.set()
        texts.append(f"The others could not be read within {TOTAL_SECONDS:.0f} s.")
    return "\n".join(texts)


def _described(process: psutil.Process) -> Iterator[str]:
    try:
        with process.oneshot():
            command = " ".join(process.cmdline()) or process.name()
            yield f"=== {process.pid} (parent {process.ppid()}, {process.status()}): {command}"
            is_python = _is_python(process)
    except (psutil.Error, OSError) as error:
        yield f"=== {process.pid}: {error}"
        return
    if is_python:
        yield _dump(process.pid)


def _is_python(process: psutil.Process) -> bool:
    """Whether it runs an interpreter of Python, under whatever name."""
    try:
        names = [process.exe(), *(mapped.path for mapped in process.memory_maps())]
    except (psutil.Error, OSError):
        return True  # py-spy then tells why it cannot be read
    return any("python" in Path(name).name for name in names)


def _dump(pid: int) -> str:
    command = [str(PY_SPY), "dump", "--pid", str(pid)]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=DUMP_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"py-spy read nothing within {DUMP_SECONDS:.0f} s.\n"
    except OSError as error:
        return f"py-spy cannot be run: {error}\n"
    return result.stdout if result.returncode == 0 else f"py-spy: {result.stderr}"
