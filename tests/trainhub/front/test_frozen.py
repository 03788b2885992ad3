"""Processes that hang are told from those that are slow."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.up_process import wait_until
from trainhub.front.frozen import FrozenProcesses, beat


@pytest.fixture
def process() -> Iterator[psutil.Process]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield psutil.Process(child.pid)
    child.kill()
    child.wait()


def stop(process: psutil.Process) -> None:
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, 5, "it is stopped")


def test_process_that_stays_stopped_hangs(process: psutil.Process, tmp_path: Path):
    frozen = FrozenProcesses(tmp_path, stopped_polls=2, silent_polls=99)
    stop(process)

    assert frozen.poll([process]) == []
    assert frozen.poll([process]) == [process]


def test_process_that_goes_on_does_not_hang(process: psutil.Process, tmp_path: Path):
    frozen = FrozenProcesses(tmp_path, stopped_polls=2, silent_polls=99)

    for _ in range(3):
        stop(process)
        assert frozen.poll([process]) == []
        process.send_signal(signal.SIGCONT)
        assert frozen.poll([process]) == []


def test_process_without_a_new_beat_hangs(process: psutil.Process, tmp_path: Path):
    frozen = FrozenProcesses(tmp_path, stopped_polls=99, silent_polls=3)
    (tmp_path / str(process.pid)).touch()

    polls = [frozen.poll([process]) for _ in range(4)]

    assert polls == [[], [], [], [process]]


def test_no_process_hangs_for_a_disk_that_keeps_no_beats(
    process: psutil.Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    frozen = FrozenProcesses(tmp_path, stopped_polls=99, silent_polls=3)
    (tmp_path / str(process.pid)).touch()

    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "touch", refuse)
    assert [frozen.poll([process]) for _ in range(9)] == [[]] * 9

    monkeypatch.undo()
    assert [frozen.poll([process]) for _ in range(3)] == [[], [], [process]]


def test_process_with_new_beats_does_not_hang(process: psutil.Process, tmp_path: Path):
    frozen = FrozenProcesses(tmp_path, stopped_polls=99, silent_polls=2)
    mark = tmp_path / str(process.pid)

    for second in range(5):
        mark.touch()
        os.utime(mark, (second, second))
        assert frozen.poll([process]) == []


def test_process_that_shows_no_beats_is_judged_by_its_state(
    process: psutil.Process, tmp_path: Path
):
    frozen = FrozenProcesses(tmp_path, stopped_polls=99, silent_polls=1)

    assert [frozen.poll([process]) for _ in range(5)] == [[]] * 5


def test_ended_process_does_not_hang(process: psutil.Process, tmp_path: Path):
    frozen = FrozenProcesses(tmp_path, stopped_polls=1, silent_polls=1)
    process.kill()
    process.wait()

    assert frozen.poll([process]) == []


def test_beats_come_again_and_again(tmp_path: Path):
    mark = tmp_path / "1"
    beat(mark, seconds=0.01)
    wait_until(mark.exists, 5, "the first beat")
    first = mark.stat().st_mtime_ns

    wait_until(lambda: mark.stat().st_mtime_ns > first, 5, "another beat")
