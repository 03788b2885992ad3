"""Process helpers."""

import psutil


def lives(process: psutil.Process) -> bool:
    """Whether the process is running. A zombie is not: it only waits to be reaped by its parent or,
    if that is dead too, by init, which may take a while."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
