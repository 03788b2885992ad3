"""Other programs' processes, as tests look at them."""

import psutil


def lives(process: psutil.Process) -> bool:
    """Whether it still works. A zombie is dead: it waits for its parent to notice, and one whose
    parent has died too for the machine's first process, which may take its time."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
