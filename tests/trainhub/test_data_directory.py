"""One `up` to a data directory, and what an earlier one has left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from trainhub import data_directory
from trainhub.data_directory import DataDirectory, ProcessRecord
from trainhub.startup import CannotStart

pytestmark = pytest.mark.usefixtures("english")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HELD", "STOPPING", "ORPHAN"):
        monkeypatch.setattr(data_directory, f"{name}_PATIENCE_SECONDS", 0.1)


@pytest.fixture
def orphan() -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a session, as children of `up` do."""
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
    """As an `up` does that is killed: its lock goes, its note stays."""
    killed = DataDirectory(directory)
    killed.acquire()
    killed.record(list(records))
    killed.release()


def test_second_holder_is_refused_and_told_who_holds_it(tmp_path: Path):
    first, second = DataDirectory(tmp_path), DataDirectory(tmp_path)
    first.acquire()

    with pytest.raises(CannotStart, match=rf"already runs .* \(process {os.getpid()}, "):
        second.acquire()

    second.release()
    first.release()


def test_released_directory_can_be_held_again(tmp_path: Path):
    first, second = DataDirectory(tmp_path), DataDirectory(tmp_path)
    first.acquire()
    first.release()

    second.acquire()

    second.release()


def test_holder_that_is_stopping_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(data_directory, "STOPPING_PATIENCE_SECONDS", 30)
    first, second = DataDirectory(tmp_path), DataDirectory(tmp_path)
    first.acquire()
    first.record([], stopping=True)
    # It lets go while the second waits.
    monkeypatch.setattr(data_directory.time, "sleep", lambda _: first.release())

    second.acquire()

    second.release()


def test_directory_without_orphans_was_left_in_order(tmp_path: Path):
    leave_behind(tmp_path)
    directory = DataDirectory(tmp_path)
    directory.acquire()

    assert directory.end_orphans() is False

    directory.release()


def test_orphan_that_does_not_leave_is_killed(tmp_path: Path, orphan: subprocess.Popen[bytes]):
    leave_behind(tmp_path, record_of(orphan))
    directory = DataDirectory(tmp_path)
    directory.acquire()

    assert directory.end_orphans() is True

    assert orphan.wait(timeout=5) == -signal.SIGKILL
    directory.release()


def test_process_that_only_has_the_pid_of_an_orphan_is_spared(
    tmp_path: Path, orphan: subprocess.Popen[bytes]
):
    leave_behind(tmp_path, ProcessRecord(orphan.pid, record_of(orphan).created - 100))
    directory = DataDirectory(tmp_path)
    directory.acquire()

    directory.end_orphans()

    assert psutil.pid_exists(orphan.pid)
    assert orphan.poll() is None
    directory.release()


def test_orphans_are_remembered_until_they_are_ended(
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
def test_note_that_a_crash_has_cut_short_is_no_hindrance(tmp_path: Path, content: str):
    (tmp_path / "up.lock").write_text(content)
    directory = DataDirectory(tmp_path)

    directory.acquire()

    assert directory.end_orphans() is False
    directory.release()


def test_shorter_note_replaces_a_longer_one_whole(tmp_path: Path, orphan: subprocess.Popen[bytes]):
    directory = DataDirectory(tmp_path)
    directory.acquire()
    directory.record([record_of(orphan)] * 3)

    directory.record([])

    assert json.loads((tmp_path / "up.lock").read_text())["processes"] == []
    directory.release()


def test_children_do_not_inherit_the_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # An exec wakes the parent a moment before it closes files.
    monkeypatch.setattr(data_directory, "HELD_PATIENCE_SECONDS", 5)
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


def test_lock_that_cannot_be_opened_is_a_sentence(tmp_path: Path):
    (tmp_path / "up.lock").mkdir()

    with pytest.raises(CannotStart, match=r"up\.lock cannot be opened: Is a directory"):
        DataDirectory(tmp_path).acquire()
