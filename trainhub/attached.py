"""A manage.py command that does not outlive the process that started it.

``python -m trainhub.attached PARENT_PID COMMAND …``

`manage.py up` starts its web server and its worker so. When it is killed and can stop nothing any
more, they notice and leave by themselves, as on SIGTERM; the last of them takes the embedded
PostgreSQL with it.
"""

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Final

POLL_SECONDS: Final = 0.5
GRACE_SECONDS: Final = 10.0


def leave_with_parent(parent_pid: int, grace_seconds: float = GRACE_SECONDS) -> threading.Event:
    """Have this process get SIGTERM once its parent has ended, and SIGKILL if it still runs then.

    Setting the returned event spares it the SIGKILL. A process whose parent ends is given another
    one at once, so the answer does not depend on a pid that may be another program's by now.
    Threads do not survive a fork: a forked child that is to leave with its own parent calls this
    itself.
    """
    has_left = threading.Event()

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        if not has_left.wait(grace_seconds):
            os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
    return has_left


def stop_embedded_database() -> None:
    """Stop it once those have left that the killed `up` has started after this process."""
    from django.conf import settings

    from trainhub.data_directory import recorded_processes
    from trainhub.embedded_postgres import EmbeddedPostgres

    if settings.DATABASE_URL:
        return
    records = recorded_processes(settings.DATA_DIR)
    mine = next((at for at, record in enumerate(records) if record.pid == os.getpid()), -1)
    deadline = time.monotonic() + GRACE_SECONDS + 1
    while any(other.is_running for other in records[mine + 1 :]) and time.monotonic() < deadline:
        time.sleep(0.1)
    EmbeddedPostgres(settings.EMBEDDED_POSTGRES_DIR).stop(timeout_seconds=2)


def exit_for(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main(parent_pid: int, command: list[str]) -> None:
    # Until the command has a handler of its own: the default would leave the database behind.
    signal.signal(signal.SIGTERM, exit_for)
    has_left = leave_with_parent(parent_pid)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainhub.settings")
    try:
        from django.core.management import execute_from_command_line

        execute_from_command_line(["manage.py", *command])
    finally:
        has_left.set()
        if os.getppid() != parent_pid:
            stop_embedded_database()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
