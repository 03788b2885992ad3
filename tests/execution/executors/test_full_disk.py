"""A full disk: the training can still be stopped, and how it ended is known."""

import contextlib
import itertools
import json
import signal
import subprocess
import sys

import psutil
import pytest

from execution.executors.attempt import Attempt, Ending
from execution.executors.failure import with_full_disk
from execution.executors.process import ProcessExecutor
from execution.launcher import PROGRAM, files
from execution.launcher.files import raise_flag, reserve, write_reserved
from execution.launcher.process_tree import Asking
from runs.actions import cancel_run
from runs.executors import WorkState, WorkStatus
from runs.models import FailureKind
from runs.status import RunStatus
from tests.execution.executors.contract import fresh, poll_until
from tests.execution.worker_loops import over, script_run, tick_until
from tests.factories import RecipeFactory, running
from tests.processes import lives
from tests.waiting import wait_until

SLEEP = "import time; print('up', flush=True); time.sleep(600)"


def fill(directory, name):
    """From now on, the disk has no place for the file that ``name`` is written through."""
    (directory / name).symlink_to("/dev/full")


# --- the launcher ----------------------------------------------------------------------------


@pytest.fixture
def launch(tmp_path):
    """Runs the launcher of a script, and returns what it says about the end."""

    def run(script):
        description = {"command": [sys.executable, "-c", script], "environment": {}}
        (tmp_path / "launch.json").write_text(json.dumps(description))
        command = [sys.executable, "-I", str(PROGRAM), str(tmp_path)]
        subprocess.run(command, check=True, timeout=60)
        return json.loads((tmp_path / "exit.json").read_text())

    return run


def test_launcher_outlives_a_disk_without_place_for_its_record(tmp_path, launch):
    fill(tmp_path, "descendants.tmp")

    assert launch("import time; time.sleep(0.3)")["returncode"] == 0


def test_launcher_works_without_a_place_for_the_note_of_its_command(tmp_path, launch):
    fill(tmp_path, "process.tmp")

    assert launch("raise SystemExit(3)")["returncode"] == 3


def test_ending_has_a_place_of_its_own(tmp_path, launch):
    reserve(tmp_path / "exit.json")
    fill(tmp_path, "exit.tmp")

    ending = launch("raise SystemExit(3)")

    assert (ending["returncode"], ending["disk_full"]) == (3, True)


def test_ending_is_written_as_soon_as_there_is_place(tmp_path, launch):
    fill(tmp_path, "exit.tmp")  # the failed attempt to write makes room by deleting it

    ending = launch("raise SystemExit(3)")

    assert (ending["returncode"], ending.get("disk_full")) == (3, None)


# --- the files -------------------------------------------------------------------------------


def test_reserved_place_is_filled_without_new_bytes(tmp_path):
    path = tmp_path / "exit.json"
    reserve(path)
    before = (tmp_path / "exit.json.spare").stat()

    write_reserved(path, {"returncode": 0})

    after = path.stat()
    assert json.loads(path.read_text()) == {"returncode": 0}
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)


def test_flag_is_raised_once_and_tells_when(tmp_path):
    path = tmp_path / "killed"
    reserve(path, size_bytes=0)

    raise_flag(path)
    at = path.stat().st_mtime_ns
    raise_flag(path)

    assert path.stat().st_mtime_ns == at


def test_failed_write_leaves_nothing(tmp_path):
    fill(tmp_path, "note.tmp")

    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(tmp_path / "note.json", {})

    assert list(tmp_path.iterdir()) == []


# --- attempts --------------------------------------------------------------------------------


@pytest.fixture
def executor():
    return ProcessExecutor()


def started(executor, script):
    run = running(recipe=RecipeFactory(script=script), total_steps=None)
    executor.start(run, run.worker)
    return run


@pytest.mark.django_db
def test_failure_without_a_word_on_a_full_disk_is_typed(executor):
    run = started(executor, "import os, sys; os.symlink('/dev/full', 'exit.tmp'); sys.exit(3)")

    work = poll_until(executor, run, WorkState.FAILED)

    assert (work.exit_code, work.failure_kind) == (3, FailureKind.DISK_FULL)


def test_cause_that_the_output_names_is_not_overruled_by_a_full_disk():
    work = WorkStatus(WorkState.FAILED, "It failed.", 1, FailureKind.OUT_OF_MEMORY)

    assert with_full_disk(work, Ending(1, 0.0, disk_full=True)) is work


def test_process_is_asked_to_stop_though_that_cannot_be_noted(tmp_path):
    fill(tmp_path, "asked.tmp")
    with subprocess.Popen(["sleep", "600"]) as child:
        Asking(tmp_path / "asked.json").ask([psutil.Process(child.pid)])

        assert child.wait(timeout=60) == -signal.SIGTERM


def without_a_place(attempt, name):
    """No flag of this name can be raised."""
    (attempt.directory / f"{name}.spare").unlink()
    (attempt.directory / name).symlink_to("/nowhere/at/all")


@pytest.mark.django_db
def test_attempt_is_asked_directly_if_its_launcher_cannot_be_told(executor):
    run = started(executor, SLEEP)
    attempt = Attempt.of(run)
    wait_until(lambda: (attempt.directory / "stdout.log").read_text())
    process = attempt.process()
    without_a_place(attempt, "stop-sent")

    executor.stop(run, run.worker)

    wait_until(lambda: not lives(process))


@pytest.mark.django_db
def test_attempt_is_killed_directly_if_its_launcher_cannot_be_told(executor):
    run = started(executor, SLEEP)
    attempt = Attempt.of(run)
    wait_until(lambda: (attempt.directory / "stdout.log").read_text())
    process = attempt.process()
    without_a_place(attempt, "killed")

    executor.kill(run, run.worker)

    assert not lives(process)


@pytest.fixture
def small_disk(tmp_path, settings):
    """The workers' files are on a disk with few inodes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=60", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount a file system")
    settings.WORK_DIR = folder / "runs"
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def use_up_inodes(folder):
    numbers = itertools.count()
    with contextlib.suppress(OSError):
        while True:
            (folder / f"fill-{next(numbers)}").touch()
    with pytest.raises(OSError, match="No space left"):
        (folder / "one more").touch()


@pytest.mark.django_db
def test_run_is_cancelled_on_a_disk_without_inodes(small_disk, loop, short_settle_time):
    run = script_run(SLEEP, stop_grace_seconds=20)
    tick_until(loop, run.log_lines.exists)
    process = Attempt.of(fresh(run)).process()
    use_up_inodes(small_disk)
    cancel_run(run, by=None, wait_seconds=0)

    tick_until(loop, lambda: over(run))

    assert fresh(run).status == RunStatus.CANCELLED
    assert not lives(process)
