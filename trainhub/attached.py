"""A manage.py command that does not outlive the process that started it.

``python -m trainhub.attached PARENT_PID [--then-stop-database] COMMAND …``

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


def leave_with_parent(parent_pid: int, grace_seconds: float = GRACE_SECONDS) -> None:
    """Have this process get SIGTERM once its parent has ended, and SIGKILL if it still runs then.

    A process whose parent ends is given another one at once, so the answer does not depend on a
    pid that may be another program's by now. Threads do not survive a fork: a forked child that
    is to leave with its own parent calls this itself.
    """

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


def stop_embedded_database() -> None:
    from django.conf import settings

    from trainhub.embedded_postgres import EmbeddedPostgres

    if not settings.DATABASE_URL:
        EmbeddedPostgres(settings.EMBEDDED_POSTGRES_DIR).stop(timeout_seconds=2)


def leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main(parent_pid: int, command: list[str], *, then_stop_database: bool) -> None:
    # Until the command has a handler of its own: the default would leave the database behind.
    signal.signal(signal.SIGTERM, leave)
    leave_with_parent(parent_pid)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainhub.settings")
    try:
        from django.core.management import execute_from_command_line

        execute_from_command_line(["manage.py", *command])
    finally:
        if then_stop_database and os.getppid() != parent_pid:
            stop_embedded_database()


if __name__ == "__main__":
    arguments = sys.argv[2:]
    last = arguments[:1] == ["--then-stop-database"]
    main(int(sys.argv[1]), arguments[last:], then_stop_database=last)
