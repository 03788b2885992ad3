"""Trainings of several processes: asked to stop from the top down, then gone to the last one."""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from execution.executors import attempt as attempts
from execution.executors.attempt import Attempt
from execution.executors.process import ProcessExecutor
from execution.launcher.process_tree import own_cgroup
from execution.worker import WorkerLoop
from runs.actions import cancel_run
from runs.executors import WorkState
from runs.status import RunStatus
from tests.execution.executors.contract import fresh, poll, poll_until
from tests.factories import RecipeFactory, RunFactory, running
from tests.processes import lives
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("short_settle_time")]

FAMILY = f"{sys.executable} {Path(__file__).with_name('family.py')}"
MEMBERS = ("launcher", "rank-0", "rank-1", "loader-0", "loader-1")


@pytest.fixture(params=["cgroup", "descent"], autouse=True)
def cgroups(request, settings):
    """Run the test with cgroups, where this machine lets us, and without."""
    settings.WORKER_CGROUPS = request.param == "cgroup"
    own = own_cgroup()
    if settings.WORKER_CGROUPS and (own is None or not os.access(own, os.W_OK)):
        pytest.skip("needs a writable cgroup v2")


@pytest.fixture(autouse=True)
def short_moment(monkeypatch):
    monkeypatch.setattr(attempts, "MOMENT_SECONDS", 0.2)


@pytest.fixture(autouse=True)
def no_family_survives(tmp_path):
    yield
    for path in tmp_path.glob("*.pid"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(path.read_text()), signal.SIGKILL)


@pytest.fixture
def executor():
    return ProcessExecutor()


def shell(script, **fields):
    return RecipeFactory(command=["bash", "-c", script], **fields)


def start(executor, recipe):
    run = running(recipe=recipe, total_steps=None)
    executor.start(run, run.worker)
    return run


def processes(folder, names=MEMBERS):
    """The processes of these names, once all have arrived."""
    paths = [folder / f"{name}.pid" for name in names]
    wait_until(lambda: all(path.exists() for path in paths))
    return [psutil.Process(int(path.read_text())) for path in paths]


def saved(folder):
    return sorted(path.name for pattern in ("*.saved", "*.twice") for path in folder.glob(pattern))


BOTH = ["rank-0.saved", "rank-1.saved"]


# --- cancelling ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "{family} launcher {folder} waits; exit $?",
        "exec {family} launcher {folder} waits",
        "{family} launcher {folder} waits 2>&1 | cat",
        "bash -c '{family} launcher {folder} waits; true'; true",
        "trap 'echo asked' TERM; {family} launcher {folder} waits; exit $?",
        "trap 'kill $child' TERM; {family} launcher {folder} waits & child=$!; wait; wait; exit",
        "trap 'kill $child; exit 3' TERM; {family} launcher {folder} waits & child=$!; wait",
        "trap '' TERM; {family} launcher {folder} waits; exit $?",
    ],
    ids=["child", "exec", "pipe", "nested", "trap", "forwards", "forwards-and-exits", "ignores"],
)
def test_cancelled_family_has_saved_and_is_gone_within_the_grace_time(script, tmp_path):
    loop = WorkerLoop(name="one", executors={"process": ProcessExecutor()})
    loop.register()
    script = script.format(family=FAMILY, folder=tmp_path)
    run = RunFactory(recipe=shell(script, stop_grace_seconds=20), total_steps=None)
    loop.tick()
    family = processes(tmp_path)
    cancel_run(run, by=None, wait_seconds=0)

    def over():
        loop.tick()
        return fresh(run).is_terminal

    wait_until(over, seconds=15)

    assert saved(tmp_path) == BOTH
    assert not any(lives(process) for process in family)
    assert fresh(run).status == RunStatus.CANCELLED


def test_ranks_that_a_shell_started_itself_are_each_asked_once(executor, tmp_path):
    script = f"{FAMILY} rank {tmp_path} 0 & {FAMILY} rank {tmp_path} 1; wait"
    run = start(executor, shell(script))
    family = processes(tmp_path, MEMBERS[1:])

    executor.stop(run, run.worker)
    executor.stop(run, run.worker)
    work = poll_until(executor, run, WorkState.STOPPED)

    assert work.exit_code == -signal.SIGTERM  # the shell's
    assert saved(tmp_path) == BOTH
    assert not any(lives(process) for process in family)


def test_shell_script_that_is_started_by_its_first_line_is_a_shell(executor, tmp_path):
    script = tmp_path / "train.sh"
    script.write_text(f"#!/bin/bash\ntrap true TERM\n{FAMILY} launcher {tmp_path} waits\n")
    script.chmod(0o755)
    run = start(executor, RecipeFactory(command=[str(script)]))
    processes(tmp_path)

    executor.stop(run, run.worker)
    poll_until(executor, run, WorkState.STOPPED)

    assert saved(tmp_path) == BOTH


def test_filter_at_the_end_of_a_pipe_is_not_asked_before_the_training(executor, tmp_path):
    script = f"{FAMILY} rank {tmp_path} 0 | cat; true"
    run = start(executor, shell(script))
    processes(tmp_path, ["rank-0", "loader-0"])
    [cat] = [item for item in Attempt.of(run).tree() if item.name() == "cat"]

    executor.stop(run, run.worker)
    poll_until(executor, run, WorkState.STOPPED)

    asked = json.loads((Attempt.of(run).directory / "asked.json").read_text())["asked"]
    assert saved(tmp_path) == BOTH[:1]
    assert cat.pid not in {pid for pid, _started in asked}


def test_run_goes_on_while_what_outlives_its_shell_saves(executor, tmp_path):
    run = start(executor, shell(f"{FAMILY} launcher {tmp_path} waits; true"))
    processes(tmp_path)
    leader = Attempt.of(run).process()

    executor.stop(run, run.worker)
    wait_until(lambda: not lives(leader))

    assert poll(executor, run).state is WorkState.WORKING
    poll_until(executor, run, WorkState.STOPPED)


def test_checkpoint_saved_after_the_shell_died_is_kept(executor):
    body = (
        "import os, pathlib, signal, sys, time\n"
        "folder = pathlib.Path(os.environ['TRAINHUB_CHECKPOINT_DIR'])\n"
        "def save(*_):\n"
        "    (folder / 'step-7.bin').write_text('whole')\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    recipe = RecipeFactory(command=["bash", "-c", '"$0" -c "$1"; true', sys.executable, body])
    run = start(executor, recipe)
    wait_until(lambda: poll(executor, run) and fresh(run).log_lines.exists())

    executor.stop(run, run.worker)
    poll_until(executor, run, WorkState.STOPPED)

    assert run.artifacts.checkpoints().get().step == 7


def test_killed_family_is_gone(executor, tmp_path):
    run = start(executor, shell(f"{FAMILY} launcher {tmp_path} waits; true"))
    family = processes(tmp_path)

    executor.kill(run, run.worker)

    assert not any(lives(process) for process in family)
    assert saved(tmp_path) == []


# --- ending by itself ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "work"), [("fails", WorkState.FAILED), ("ends", WorkState.FINISHED)]
)
def test_family_is_gone_after_its_launcher_ended_by_itself(executor, tmp_path, how, work):
    run = start(executor, shell(f"{FAMILY} launcher {tmp_path} {how}; exit $?"))
    family = processes(tmp_path)
    (tmp_path / "go").touch()

    poll_until(executor, run, work)

    assert not any(lives(process) for process in family)


def test_leftover_that_ends_within_its_moment_is_not_disturbed(executor, tmp_path, monkeypatch):
    monkeypatch.setattr(attempts, "MOMENT_SECONDS", 60)
    script = f"(until [ -e {tmp_path}/go ]; do sleep 0.01; done; touch {tmp_path}/done) & exit 0"
    run = start(executor, shell(script))
    wait_until(lambda: (Attempt.of(run).directory / "process.json").exists())
    wait_until(lambda: Attempt.of(run).process() is None)
    assert poll(executor, run).state is WorkState.WORKING
    (tmp_path / "go").touch()

    poll_until(executor, run, WorkState.FINISHED)

    assert (tmp_path / "done").exists()


# --- without the launcher --------------------------------------------------------------------


def kill_launcher(run):
    launcher = Attempt.of(run)._launcher()
    launcher.kill()
    wait_until(lambda: not lives(launcher))


def test_family_is_asked_and_waited_for_though_its_launcher_was_killed(executor, tmp_path):
    run = start(executor, shell(f"{FAMILY} launcher {tmp_path} waits; true"))
    family = processes(tmp_path, MEMBERS[:3])
    kill_launcher(run)

    def saved_all():
        executor.stop(run, run.worker)
        return saved(tmp_path) == BOTH

    wait_until(saved_all)
    wait_until(lambda: not any(lives(process) for process in family))


def test_family_is_gone_after_its_launcher_and_leader_were_killed(executor, tmp_path):
    run = start(executor, shell(f"{FAMILY} launcher {tmp_path} waits; true"))
    family = processes(tmp_path, MEMBERS[:3])
    kill_launcher(run)
    Attempt.of(run).process().kill()

    poll_until(executor, run, WorkState.DIED)

    assert not any(lives(process) for process in family)
