"""Runs a script that is killed while it saves: ``python killed_while_saving.py PATH WHEN SCRIPT
ARGUMENT…``.

WHEN: just before the first event of this name (``open`` to write, ``os.rename``, ``os.symlink``)
one of whose paths ends in PATH; or a number of bytes, which are all that reaches a file once such a
path is opened. What is left is what the framework had written so far.
"""

import os
import resource
import runpy
import signal
import sys
from pathlib import Path

end, when = sys.argv[1:3]


def watch(event, arguments):
    """A hook for audited events."""
    if event != ("open" if when.isdecimal() else when):
        return
    if event == "open" and not is_written(*arguments):
        return
    names = [os.fsdecode(item) for item in arguments[:2] if isinstance(item, (str, bytes))]
    if not any(name.endswith(end) for name in names):
        return
    if when.isdecimal():
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(when), int(when)))
    else:
        os.kill(os.getpid(), signal.SIGKILL)


def is_written(_path, mode, flags):
    return bool(flags & (os.O_WRONLY | os.O_RDWR)) if mode is None else mode[0] in "wax"


if __name__ == "__main__":  # processes that the script starts may import this module
    sys.argv = sys.argv[3:]
    sys.addaudithook(watch)
    sys.path.insert(0, str(Path(sys.argv[0]).parent))
    runpy.run_path(sys.argv[0], run_name="__main__")
