"""Attempts whose launcher has yet to start, whose processes cannot be killed, and their groups."""

import os
import subprocess

import psutil
import pytest

from artifacts.models import Artifact
from execution.executors import attempt as attempts
from execution.executors.attempt import Attempt, LauncherFailed
from execution.executors.process import DeviceHeld, ProcessExecutor
from execution.launcher import process_tree
from execution.launcher.files import file_time
from execution.launcher.process_tree import Cgroup
from runs.executors import WorkState
from runs.models import Run
from runs.status import RunStatus
from tests.execution.executors.contract import fresh, poll, poll_until
from tests.factories import RecipeFactory, running
from tests.processes import lives
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("short_settle_time")]

SLEEP = "import time; print('up', flush=True); time.sleep(600)"


@pytest.fixture
def executor():
    return ProcessExecutor()


def started(executor, script, **fields):
    """A run whose script has begun."""
    run = running(recipe=RecipeFactory(script=script), total_steps=None, **fields)
    executor.start(run, run.worker)
    wait_until(lambda: (Attempt.of(run).directory / "stdout.log").read_text())
    return run


def next_attempt(run, **fields):
    Run.objects.filter(pk=run.pk).update(attempt=run.attempt + 1, **fields)
    return fresh(run)


# --- launching -------------------------------------------------------------------------------


@pytest.fixture
def created(executor, monkeypatch):
    """A run whose worker died after it had created the attempt and before it launched it; hours
    ago, by the clock of the file server."""
    run = running(recipe=RecipeFactory(script="print('ran')"), total_steps=None)
    with monkeypatch.context() as patch:
        patch.setattr(Attempt, "launch", lambda self: None)
        executor.start(run, run.worker)
    for path in Attempt.of(run).directory.rglob("*"):
        os.utime(path, (0, 0))
    return run


def test_attempt_is_alive_until_its_launcher_starts_however_old_its_files_are(created):
    assert Attempt.of(created).ending() is None


def test_attempt_that_was_created_and_not_launched_is_launched(executor, created):
    assert poll(executor, created).state is WorkState.WORKING

    poll_until(executor, created, WorkState.FINISHED)

    assert created.log_lines.get().message == "ran"


def test_attempt_without_its_description_is_over(created):
    (Attempt.of(created).directory / "launch.json").unlink()

    assert Attempt.of(created).ending().returncode is None


def test_launcher_that_cannot_start_says_why_until_one_can(executor, created):
    obstacle = Attempt.of(created).directory / "launcher.tmp"
    obstacle.mkdir()  # in the way of launcher.json

    def failure():
        try:
            executor.poll(created, created.worker)
        except LauncherFailed as error:
            return str(error)
        return ""

    assert "launcher.tmp" in wait_until(failure)
    assert "launcher.tmp" in failure()  # while the next one starts
    obstacle.rmdir()
    wait_until(lambda: not failure())

    poll_until(executor, created, WorkState.FINISHED)


def test_time_is_that_of_the_clock_that_dates_the_files(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.touch()

    def half_an_hour_behind(path):
        subprocess.run(["touch", "-d", "-30 minutes", str(path)], check=True)

    monkeypatch.setattr(os, "utime", half_an_hour_behind)

    assert path.stat().st_mtime - file_time(tmp_path) > 1700


# --- groups ----------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", ".", "relative", "{folder}", "{folder}/trainhub-x-1"])
def test_only_an_attempts_own_group_is_taken_for_it(executor, tmp_path, monkeypatch, content):
    """The file of a launcher whose disk was full may be empty."""
    folder = tmp_path / "elsewhere"
    (folder / "trainhub-x-1" / "empty").mkdir(parents=True)
    monkeypatch.chdir(folder)
    run = started(executor, SLEEP)
    (Attempt.of(run).directory / "cgroup").write_text(content.format(folder=folder))
    Attempt.of(run)._launcher().kill()

    executor.kill(run, run.worker)

    assert (folder / "trainhub-x-1" / "empty").exists()


def test_group_has_no_folders_that_are_no_groups(tmp_path):
    for name in ("group", "group/inner", "group/other"):
        (tmp_path / name).mkdir()
    for name in ("group", "group/inner"):
        (tmp_path / name / "cgroup.procs").touch()

    assert Cgroup(tmp_path / "group")._folders() == [
        tmp_path / "group" / "inner",
        tmp_path / "group",
    ]


# --- processes that cannot be killed ---------------------------------------------------------


def kill_launcher(attempt):
    launcher = attempt._launcher()
    launcher.kill()
    wait_until(lambda: not lives(launcher))


@pytest.fixture
def stuck(monkeypatch, settings):
    """No process can be killed, as if it were stuck in the kernel."""
    settings.WORKER_CGROUPS = False  # which this system kills at once
    with monkeypatch.context() as patch:
        patch.setattr(attempts, "KILL_SECONDS", 0.05)
        patch.setattr(process_tree, "send", lambda process, number: True)
        yield patch


SAVES = (
    "import os, pathlib, time\n"
    "folder = pathlib.Path(os.environ['TRAINHUB_CHECKPOINT_DIR'])\n"
    "(folder / 'step-7.bin').write_text('whole')\n"
    "print('saved', flush=True)\n"
    "time.sleep(600)\n"
)


def stuck_run(executor, **fields):
    """A run whose attempt 1 was left over and cannot be killed."""
    run = started(executor, SAVES, **fields)
    attempt = Attempt.of(run)
    kill_launcher(attempt)
    settled = wait_until(lambda: (attempt.directory / "checkpoints" / "step-7.bin").stat())
    wait_until(lambda: file_time(attempt.directory) - settled.st_mtime > 0.1)
    return run, attempt


def test_what_an_attempt_saved_that_cannot_be_killed_is_kept(executor, stuck):
    run, attempt = stuck_run(executor)

    run = next_attempt(run)
    executor.start(run, run.worker)

    assert Artifact.objects.checkpoints_of(run).get().step == 7
    assert attempt.directory.exists()
    stuck.undo()


def test_run_waits_while_its_own_earlier_attempt_holds_its_gpu(executor, stuck):
    run, attempt = stuck_run(executor, devices=["0"])
    run = next_attempt(run)

    with pytest.raises(DeviceHeld, match="GPU 0"):
        executor.start(run, run.worker)
    stuck.undo()
    executor.start(run, run.worker)

    assert not attempt.directory.exists()
    assert Attempt.of(run).is_launched


def test_run_can_be_abandoned_though_its_earlier_attempt_holds_its_gpu(executor, stuck):
    run, attempt = stuck_run(executor, devices=["0"])
    run = next_attempt(run)

    executor.abandon(run, run.worker)

    assert Artifact.objects.checkpoints_of(run).get().step == 7
    assert attempt.directory.exists()
    stuck.undo()


def test_gpu_is_not_used_while_a_process_of_an_ended_run_holds_it(executor, stuck):
    run, _attempt = stuck_run(executor, devices=["0"])
    run.transition(RunStatus.CANCELLED)
    executor.forget(fresh(run))  # its files tell who holds the GPU
    other = running(recipe=RecipeFactory(script=SLEEP), devices=["0"], project=run.project)
    strangers = running(recipe=other.recipe, devices=["0"])

    with pytest.raises(DeviceHeld, match=run.pk):
        executor.start(other, other.worker)
    with pytest.raises(DeviceHeld) as refused:
        executor.start(strangers, strangers.worker)
    assert run.pk not in str(refused.value)
    stuck.undo()
    executor.start(other, other.worker)

    assert Attempt.of(other).is_launched


def test_process_of_another_user_is_neither_killed_nor_waited_for(executor, monkeypatch):
    run = started(executor, SLEEP)
    attempt = Attempt.of(run)
    kill_launcher(attempt)
    environment = {"TRAINHUB_RUN_ID": run.pk, "TRAINHUB_ATTEMPT": "1"}
    child = subprocess.Popen(["sleep", "600"], env={**os.environ, **environment})
    real = process_tree.send
    monkeypatch.setattr(
        process_tree, "send", lambda item, number: item.pid != child.pid and real(item, number)
    )

    assert attempt.kill()

    assert psutil.pid_exists(child.pid)
    child.kill()
    child.wait()
