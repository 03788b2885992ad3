"""How many requests this web server has answered, by the class of their status.

Each of its processes counts its own, and writes them to a file every second; whichever is asked
adds up the files. Those of processes that were replaced stay, so that no count falls before the
server starts anew.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Final

CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")
WRITE_SECONDS: Final = 1.0

_counts = [0] * len(CLASSES)
_lock = threading.Lock()  # "+=" is not atomic
_directory: Path | None = None


def count(status_code: int) -> None:
    """A request has been answered; called for each."""
    with _lock:
        _counts[status_code // 100 - 1] += 1


def publish(directory: Path) -> None:
    """Write this process's counts to a file in ``directory`` from now on."""
    global _directory
    _directory = directory
    threading.Thread(target=_publish, args=(directory,), name="counts", daemon=True).start()


def _publish(directory: Path) -> None:
    while True:
        write(directory / str(os.getpid()))
        time.sleep(WRITE_SECONDS)


def write(path: Path) -> None:
    """Whole or not at all. On a full disk the counts stand still until it has space."""
    new = path.with_suffix(".new")
    try:
        new.write_text(" ".join(map(str, _counts)), encoding="ascii")
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)


def totals() -> dict[str, int]:
    """Of all processes of this web server, or only of this one where none are published."""
    if _directory is None:
        return dict(zip(CLASSES, _counts, strict=True))
    summed: Counter[str] = Counter(dict.fromkeys(CLASSES, 0))
    for path in _directory.glob("[0-9]*"):
        if path.suffix:  # is being written
            continue
        numbers = path.read_text(encoding="ascii").split()
        summed.update(dict(zip(CLASSES, map(int, numbers), strict=True)))
    return dict(summed)
