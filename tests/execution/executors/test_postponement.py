"""A training whose files cannot be stored for now."""

import errno

import pytest

from execution.executors import postponement
from execution.executors.attempt import Attempt
from execution.executors.process import ProcessExecutor
from execution.worker import WorkerLoop
from runs import attempts
from runs.actions import cancel_run
from runs.executors import Postponed, WorkState
from runs.models import EventKind, Run, StopKind
from runs.status import RunStatus
from tests.execution.executors.contract import fresh, poll
from tests.factories import RecipeFactory, RunFactory, running
from tests.storage import BrokenDisk
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("short_settle_time")]

SAVING = """
import json, os, pathlib
folder = pathlib.Path(os.environ["TRAINHUB_CHECKPOINT_DIR"])
(folder / "step_1.pt").write_bytes(b"one")
with open(os.environ["TRAINHUB_METRICS_FILE"], "a") as metrics:
    for step in (1, 2, 3):
        metrics.write(json.dumps({"step": step, "loss": 1.0}) + "\\n")
print("done")
"""
MORE = """
pathlib.Path(os.environ["TRAINHUB_OUTPUT_DIR"], "evaluation.json").write_text('{"bleu": 30}')
(folder / "README.md").write_text("# A model")
"""


@pytest.fixture
def disk(monkeypatch):
    return BrokenDisk(monkeypatch)


@pytest.fixture
def executor():
    return ProcessExecutor()


@pytest.fixture
def run(executor, disk):
    return ended(executor, disk, SAVING)


def ended(executor, disk, script):
    """A run whose training has ended with files for which there is no room."""
    run = running(recipe=RecipeFactory(script=script))
    executor.start(run, run.worker)
    disk.errno = errno.ENOSPC
    wait_until(lambda: poll(executor, run).state is WorkState.STORING)
    return run


@pytest.fixture
def without_pauses(monkeypatch):
    monkeypatch.setattr(postponement, "FIRST_PAUSE_SECONDS", 0.0)


def events(run):
    return list(run.events.values_list("kind", flat=True))


def test_run_says_which_checkpoint_is_not_stored_and_why(run):
    reason = fresh(run).status_reason

    assert "step_1.pt" in str(reason)
    assert run.events.get(kind=EventKind.NOT_STORED).reason == reason


def test_lines_and_metrics_are_read_all_the_same(run):
    assert run.log_lines.filter(message="done").exists()
    assert run.series.get(key="loss").count == 3


def test_storing_is_not_tried_again_before_a_pause(run, executor, disk):
    attempts = disk.attempts

    assert poll(executor, run).state is WorkState.STORING

    assert disk.attempts == attempts


@pytest.mark.usefixtures("without_pauses")
def test_failures_of_one_kind_are_said_once(run, executor):
    poll(executor, run)
    poll(executor, run)

    assert events(run).count(EventKind.NOT_STORED) == 1


@pytest.mark.usefixtures("without_pauses")
def test_all_is_stored_once_there_is_room(executor, disk):
    run = ended(executor, disk, SAVING + MORE)

    disk.errno = None

    assert poll(executor, run).state is WorkState.FINISHED

    assert run.artifacts.checkpoints().get().step == 1
    assert run.artifacts.filter(type="evaluation").exists()
    assert run.artifacts.uploaded().filter(file="checkpoints/README.md").exists()
    assert fresh(run).status_reason == ""
    assert events(run)[-1] == EventKind.STORED


@pytest.mark.usefixtures("without_pauses")
def test_next_attempt_waits_until_the_last_one_is_stored(run, executor, disk):
    worker = run.worker
    attempts.recover(fresh(run), "Its worker died.")
    Run.objects.filter(pk=run.pk).update(worker=worker)

    with pytest.raises(Postponed):
        executor.start(fresh(run), worker)

    disk.errno = None
    executor.start(fresh(run), worker)
    assert run.artifacts.checkpoints().filter(step=1).exists()
    executor.kill(fresh(run), worker)


@pytest.mark.usefixtures("without_pauses")
def test_cancelled_run_ends_with_its_checkpoint_once_there_is_room(disk):
    loop = WorkerLoop(name="one", executors={"process": ProcessExecutor()})
    loop.register()
    script = SAVING + "import time; time.sleep(600)"
    run = RunFactory(recipe=RecipeFactory(script=script), total_steps=None)
    wait_until(lambda: loop.tick() or fresh(run).attempt_started_at)
    disk.errno = errno.EROFS
    wait_until(lambda: loop.tick() or EventKind.NOT_STORED in events(run))
    cancel_run(run, by=None, wait_seconds=0)
    wait_until(lambda: loop.tick() or Attempt.of(run).ending())
    loop.tick()
    run.refresh_from_db()
    assert (run.status, run.stop_kind) == (RunStatus.RUNNING, StopKind.CANCEL)

    disk.errno = None
    wait_until(lambda: loop.tick() or fresh(run).is_terminal)

    assert fresh(run).status == RunStatus.CANCELLED
    assert run.artifacts.kept_at_cancel().get().step == 1
