"""The lock of `up` on a data directory, and processes left behind by an earlier `up`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from trainhub.up import data_directory
from trainhub.up.data_directory import DataDirectory, ProcessRecord
from trainhub.up.preflight import StartupError

pytestmark = pytest.mark.usefixtures("english")


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HELD", "STOPPING", "ORPHAN"):
        monkeypatch.setattr(data_directory, f"{name}_TIMEOUT_SECONDS", 0.1)


@pytest.fixture
def orphan() -> Iterator[subprocess.Popen[bytes]]:
    """A process in its own session, like the children of `up`."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True
    )
    yield process
    process.kill()
    process.wait()


def record_of(process: subprocess.Popen[bytes]) -> ProcessRecord:
    record = ProcessRecord.of(process.pid)
    assert record is not None
    return record


def leave_behind(directory: Path, *records: ProcessRecord) -> None:
    """Simulate a killed `up`: it loses the lock, but the lock file stays."""
    killed = DataDirectory(directory)
    killed.acquire()
    killed.record(list(records))
    killed.release()


def test_second_holder_is_refused_with_the_pid_of_the_first(tmp_path: Path):
    first, second = DataDirectory(tmp_path), DataDirectory(tmp_path)
    first.acquire()

    with pytest.raises(StartupError, match=rf"already running .* \(process {os.getpid()}, "):
        second.acquire()

    second.release()
    first.release()


def test_released_directory_can_be_acquired_again(tmp_path: Path):
    first, second = DataDirectory(tmp_path), DataDirectory(tmp_path)
    first.acquire()
    first.release()

    second.acquire()

    second.release()


def test_acquire_waits_for_a_stopping_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(data_directory, "STOPPING_TIMEOUT_SECONDS", 30)
    first, second = DataDirectory(tmp_path), DataDirectory(tmp_path)
    first.acquire()
    first.record([], stopping=True)
    # The first releases the lock while the second waits.
    monkeypatch.setattr(data_directory.time, "sleep", lambda _: first.release())

    second.acquire()

    second.release()


def test_end_orphans_without_orphans_reports_a_clean_stop(tmp_path: Path):
    leave_behind(tmp_path)
    directory = DataDirectory(tmp_path)
    directory.acquire()

    assert directory.end_orphans() is False

    directory.release()


def test_orphan_that_does_not_exit_is_killed(tmp_path: Path, orphan: subprocess.Popen[bytes]):
    leave_behind(tmp_path, record_of(orphan))
    directory = DataDirectory(tmp_path)
    directory.acquire()

    assert directory.end_orphans() is True

    assert orphan.wait(timeout=5) == -signal.SIGKILL
    directory.release()


def test_process_with_a_reused_pid_is_not_killed(tmp_path: Path, orphan: subprocess.Popen[bytes]):
    leave_behind(tmp_path, ProcessRecord(orphan.pid, record_of(orphan).created - 100))
    directory = DataDirectory(tmp_path)
    directory.acquire()

    directory.end_orphans()

    assert psutil.pid_exists(orphan.pid)
    assert orphan.poll() is None
    directory.release()


def test_orphans_stay_recorded_until_they_have_exited(
    tmp_path: Path, orphan: subprocess.Popen[bytes]
):
    leave_behind(tmp_path, record_of(orphan))
    interrupted = DataDirectory(tmp_path)
    interrupted.acquire()
    interrupted.release()
    directory = DataDirectory(tmp_path)
    directory.acquire()

    assert directory.end_orphans() is True

    directory.release()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_truncated_lock_file_is_ignored(tmp_path: Path, content: str):
    (tmp_path / "up.lock").write_text(content)
    directory = DataDirectory(tmp_path)

    directory.acquire()

    assert directory.end_orphans() is False
    directory.release()


def test_shorter_lock_file_replaces_a_longer_one(tmp_path: Path, orphan: subprocess.Popen[bytes]):
    directory = DataDirectory(tmp_path)
    directory.acquire()
    directory.record([record_of(orphan)] * 3)

    directory.record([])

    assert json.loads((tmp_path / "up.lock").read_text())["processes"] == []
    directory.release()


def test_children_do_not_inherit_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # exec wakes the parent shortly before it closes the file descriptors.
    monkeypatch.setattr(data_directory, "HELD_TIMEOUT_SECONDS", 5)
    first, second = DataDirectory(tmp_path), DataDirectory(tmp_path)
    first.acquire()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    first.release()

    try:
        second.acquire()  # raises if the child holds it
    finally:
        second.release()
        child.kill()
        child.wait()


def test_lock_file_that_cannot_be_opened_is_reported(tmp_path: Path):
    (tmp_path / "up.lock").mkdir()

    with pytest.raises(StartupError, match=r"up\.lock cannot be opened: Is a directory"):
        DataDirectory(tmp_path).acquire()
