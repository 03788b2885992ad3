"""Runs a manage.py command that does not outlive the process that started it.

``python -m trainhub.up.child_process PARENT_PID COMMAND …``

`manage.py up` starts its web server and worker this way. If `up` is killed and cannot stop them,
they notice and exit as on SIGTERM; the last one stops the embedded PostgreSQL.
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


def exit_with_parent(parent_pid: int, grace_seconds: float = GRACE_SECONDS) -> threading.Event:
    """Send this process SIGTERM when its parent exits, and SIGKILL after ``grace_seconds``.

    Set the returned event to prevent the SIGKILL. An orphan gets a new parent at once, so this
    works even if the parent's pid is reused. Threads do not survive a fork: a forked child must
    call this again.
    """
    has_exited = threading.Event()

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        if not has_exited.wait(grace_seconds):
            os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
    return has_exited


def stop_embedded_database() -> None:
    """Stop it after the processes that the killed `up` started after this one have exited."""
    from django.conf import settings

    from trainhub.up.data_directory import recorded_processes
    from trainhub.up.embedded_postgres import EmbeddedPostgres

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
    # Until the command installs its own handler: the default would leave the database running.
    signal.signal(signal.SIGTERM, exit_for)
    has_exited = exit_with_parent(parent_pid)
    sys.argv = ["manage.py", *command]  # what this process runs, in the audit and for its children
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainhub.settings")
    try:
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    finally:
        has_exited.set()
        if os.getppid() != parent_pid:
            stop_embedded_database()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
