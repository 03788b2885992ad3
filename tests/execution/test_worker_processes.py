"""Workers as separate processes: they die, and no run is lost or executed twice."""

import os
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

import psutil
import pytest

from artifacts.checkpoints import latest_sound_checkpoint
from execution.executors import training_user
from execution.executors.attempt import Attempt
from logs.models import LogLine
from runs.actions import cancel_run
from runs.models import EventKind, Run, RunEvent, Worker
from runs.status import RunStatus
from tests.factories import ProjectFactory, RecipeFactory, RunFactory
from tests.processes import lives
from tests.waiting import wait_until
from tests.workers import WorkerProcess

pytestmark = [
    pytest.mark.processes,
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
]

STEPPER = Path(__file__).parent / "executors" / "stepper.py"
SHORT_LEASE = {"TRAINHUB_WORKER_LEASE_SECONDS": 2}


@pytest.fixture
def worker():
    """Starts workers and kills them after the test."""
    started = []

    def start(name, *arguments, **environment):
        started.append(WorkerProcess(name, *arguments, **environment))
        return started[-1]

    yield start
    for process in started:
        if process.process.poll() is None:
            process.kill()


def simulated_runs(count, **fields):
    fields = {"hyperparameters": {"max_steps": 12}, "total_steps": 12} | fields
    return RunFactory.create_batch(count, project=ProjectFactory(), **fields)


def process_run(**fields):
    hyperparameters = {"max_steps": 100_000, "pause_seconds": 0.01}
    fields = {"hyperparameters": hyperparameters, "total_steps": 100_000} | fields
    fields.setdefault("recipe", RecipeFactory(command=[sys.executable, str(STEPPER)]))
    return RunFactory(**fields)


def at_step(run, step):
    def reached():
        run.refresh_from_db()
        return run.step >= step

    return reached


def over(run):
    def is_over():
        run.refresh_from_db()
        return run.is_terminal

    return is_over


def all_over():
    return not Run.objects.active().exists()


def trainer(run):
    run.refresh_from_db()
    return wait_until(Attempt.of(run).process)


def assert_every_step_once(run):
    steps = list(run.series.get(key="train_loss").points.order_by("step").values_list("step"))
    assert steps == [(step,) for step in range(1, len(steps) + 1)]


def assert_every_line_once(run):
    # Not compared with the run's count, because the run may still be working.
    numbers = list(run.log_lines.order_by("seq").values_list("seq", flat=True))
    assert numbers == list(range(1, len(numbers) + 1))


# --- several workers -------------------------------------------------------------------------


def test_two_workers_complete_two_hundred_runs_each_exactly_once(worker):
    simulated_runs(200)

    worker("one", "--slots", "10")
    worker("other", "--slots", "10")
    wait_until(all_over, seconds=120)

    events = RunEvent.objects.order_by("id").values_list("run", "kind", "to_status", "attempt")
    per_run = {}
    for run, *event in events:
        per_run.setdefault(run, []).append(tuple(event))
    assert len(per_run) == 200
    assert set(map(tuple, per_run.values())) == {
        (
            (EventKind.CLAIMED, RunStatus.RUNNING, 1),
            (EventKind.STATUS, RunStatus.COMPLETED, 1),
        )
    }
    claimed = RunEvent.objects.filter(kind=EventKind.CLAIMED)
    assert set(claimed.values_list("worker__name", flat=True)) == {"one", "other"}
    counts = Run.objects.filter(series__key="train_loss").values_list("series__count", flat=True)
    assert set(counts) == {12}
    finished = LogLine.objects.filter(message__startswith="training completed").values_list(
        "run", flat=True
    )
    assert Counter(finished).most_common(1)[0][1] == 1
    assert len(finished) == 200


def test_killed_worker_loses_nothing(worker):
    simulated_runs(40, hyperparameters={"max_steps": 400}, total_steps=400)
    victim = worker("victim", "--slots", "10", **SHORT_LEASE)
    worker("survivor", "--slots", "10", **SHORT_LEASE)
    wait_until(lambda: Run.objects.filter(worker__name="victim", step__gt=0).count() >= 5)

    victim.kill()
    held = list(Run.objects.filter(worker__name="victim").values_list("pk", flat=True))
    wait_until(all_over, seconds=120)

    ends = RunEvent.objects.filter(kind=EventKind.STATUS).values_list("run", "to_status")
    assert Counter(ends) == {(pk, "已完成"): 1 for (pk,) in Run.objects.values_list("pk")}
    recovered = RunEvent.objects.filter(kind=EventKind.RECOVERED)
    assert sorted(recovered.values_list("run", flat=True)) == sorted(held)
    assert all("victim" in str(event.reason) for event in recovered)
    for run in Run.objects.all():
        assert run.attempt == 1 + (run.pk in held)
        assert_every_step_once(run)
        assert_every_line_once(run)
        assert run.series.get(key="train_loss").count == 400


# --- processes outlive their worker ----------------------------------------------------------


def test_killed_worker_readopts_running_processes_after_a_restart(worker):
    run = process_run()
    first = worker("one").ready()
    wait_until(at_step(run, 5))
    process = trainer(run)

    first.kill()
    assert lives(process)
    worker("one").ready()
    wait_until(at_step(run, run.step + 30))

    assert run.attempt == 1
    assert trainer(run) == process
    assert run.events.filter(kind=EventKind.READOPTED).count() == 1
    assert_every_step_once(run)
    assert_every_line_once(run)


def test_training_that_ended_while_its_worker_was_dead_completes_after_a_restart(worker):
    run = process_run(hyperparameters={"max_steps": 120, "pause_seconds": 0.01}, total_steps=120)
    first = worker("one").ready()
    wait_until(at_step(run, 5))
    process = trainer(run)
    first.kill()
    wait_until(lambda: not lives(process))

    worker("one").ready()
    wait_until(over(run))

    assert (run.status, run.attempt, run.exit_code) == (RunStatus.COMPLETED, 1, 0)
    assert run.series.get(key="train_loss").count == 120
    assert_every_step_once(run)
    assert_every_line_once(run)


def test_another_worker_takes_over_after_the_lease_and_kills_the_old_process(worker):
    run = process_run()
    victim = worker("victim", **SHORT_LEASE).ready()
    # Far enough for a complete checkpoint.
    wait_until(lambda: at_step(run, 20)() and run.artifacts.checkpoints().exists())
    old = trainer(run)
    worker("other", **SHORT_LEASE).ready()

    victim.kill()
    wait_until(lambda: Run.objects.filter(pk=run.pk, attempt=2, worker__name="other").exists())
    wait_until(lambda: not lives(old))
    [first_line] = wait_until(
        lambda: run.log_lines.filter(message__startswith="attempt 2 from step ")
    )
    wait_until(at_step(run, int(first_line.message.rpartition(" ")[2]) + 20))

    assert run.restart_count == 0
    assert trainer(run) != old
    assert latest_sound_checkpoint(run) is not None
    assert_every_step_once(run)
    assert_every_line_once(run)
    assert not first_line.message.endswith(" step 0")


def test_killed_trainer_continues_from_its_last_checkpoint(worker):
    run = process_run(hyperparameters={"max_steps": 600, "pause_seconds": 0.01}, total_steps=600)
    worker("one").ready()
    wait_until(lambda: at_step(run, 30)() and run.artifacts.checkpoints().exists())

    trainer(run).kill()
    wait_until(over(run))

    recovered = run.events.get(kind=EventKind.RECOVERED)
    assert (run.status, run.attempt) == (RunStatus.COMPLETED, 2)
    assert "SIGKILL" in str(recovered.reason)
    assert run.series.get(key="train_loss").count == 600
    assert_every_step_once(run)
    assert_every_line_once(run)
    steps = list(run.artifacts.checkpoints().order_by("step").values_list("step", flat=True))
    assert steps == sorted(set(steps))


def test_trainer_that_is_killed_repeatedly_fails_with_the_reason(worker):
    run = RunFactory(
        recipe=RecipeFactory(script="import os; os.kill(os.getpid(), 9)"), max_restarts=2
    )
    worker("one")

    wait_until(over(run))

    assert (run.status, run.attempt, run.restart_count) == (RunStatus.FAILED, 3, 2)
    assert "SIGKILL" in str(run.status_reason)
    assert run.events.filter(kind=EventKind.RECOVERED).count() == 2


def test_cancel_waits_for_the_worker_to_stop_the_process(worker):
    run = process_run()
    worker("one").ready()
    wait_until(at_step(run, 15))

    cancelled = cancel_run(run, by=None, wait_seconds=60)

    kept = cancelled.artifacts.kept_at_cancel().get()
    assert cancelled.status == RunStatus.CANCELLED
    assert kept.step == cancelled.step >= 15


# --- signals ---------------------------------------------------------------------------------


def test_first_sigterm_releases_the_runs_and_another_worker_continues_them(worker):
    runs = simulated_runs(4, hyperparameters={"max_steps": 2000}, total_steps=2000)
    leaving = worker("leaving").ready()
    wait_until(lambda: Run.objects.filter(step__gt=0).count() == 4)

    leaving.terminate()
    assert leaving.wait() == 0
    released = list(Run.objects.values_list("worker", "attempt", "restart_count"))
    worker("other", TRAINHUB_SIMULATION_STEPS_PER_SECOND=100_000)
    wait_until(all_over)

    assert released == [(None, 1, 0)] * 4
    assert Worker.objects.get(name="leaving").stopped_at is not None
    for run in runs:
        run.refresh_from_db()
        assert (run.status, run.attempt) == (RunStatus.COMPLETED, 1)
        assert_every_step_once(run)
        assert run.events.filter(kind=EventKind.RELEASED).count() == 1


def test_sigterm_leaves_processes_running_for_the_next_start(worker):
    run = process_run()
    first = worker("one").ready()
    wait_until(at_step(run, 5))
    process = trainer(run)

    first.terminate()
    assert first.wait() == 0
    assert lives(process)
    worker("one").ready()
    wait_until(at_step(run, run.step + 20))

    assert (run.attempt, trainer(run)) == (1, process)
    assert_every_step_once(run)


def test_sigterm_with_on_exit_stop_saves_a_checkpoint_without_a_restart(worker):
    run = process_run()
    first = worker("one", "--on-exit", "stop").ready()
    wait_until(at_step(run, 15))
    process = trainer(run)

    first.terminate()
    assert first.wait() == 0

    run.refresh_from_db()
    assert not lives(process)
    assert (run.status, run.worker, run.restart_count) == (RunStatus.RUNNING, None, 0)
    assert latest_sound_checkpoint(run).step == run.step


def test_second_sigterm_exits_immediately(worker):
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('ready', flush=True); time.sleep(600)"
    )
    run = RunFactory(recipe=RecipeFactory(script=script))
    stuck = worker("stuck", "--on-exit", "stop").ready()
    wait_until(lambda: run.log_lines.exists())

    stuck.terminate()
    wait_until(lambda: "Shutting down" in stuck.output())
    assert psutil.pid_exists(stuck.process.pid)
    stuck.terminate()

    assert stuck.wait() == 128 + signal.SIGTERM
    assert Worker.objects.get(name="stuck").stopped_at is None


def test_worker_whose_name_was_taken_exits_with_an_error(worker):
    first = worker("one", **SHORT_LEASE).ready()
    worker("one", **SHORT_LEASE).ready()

    assert first.wait() == 1
    assert "Another worker has registered as one" in first.output()
    assert "Traceback" not in first.output()
    assert Worker.objects.get(name="one").stopped_at is None


@pytest.mark.skipif(
    bool(training_user.missing_capabilities()), reason="may not become another user"
)
def test_training_of_a_user_of_its_own_outlives_its_worker_and_stops_when_asked(worker, settings):
    uids = range(400_000_000 + 20 * os.getpid(), 400_000_000 + 20 * os.getpid() + 10)
    user = {"TRAINHUB_TRAINING_USER": f"{uids.start}-{uids.stop - 1}"}
    with tempfile.TemporaryDirectory(dir="/tmp") as data:  # pytest's own folders are closed
        settings.WORK_DIR = Path(data) / "runs"
        run = process_run(recipe=RecipeFactory(command=["/usr/bin/python3", str(STEPPER)]))
        first = worker("one", **user).ready()
        wait_until(at_step(run, 20))
        process = Attempt.of(run).process()

        first.kill()
        worker("one", **user).ready()
        wait_until(at_step(run, run.step + 20))
        again = Attempt.of(run).process()
        cancel_run(run, by=None)
        wait_until(over(run))

        assert process == again
        assert not process.is_running()
        assert (run.status, run.attempt) == (RunStatus.CANCELLED, 1)
        assert run.artifacts.checkpoints().filter(step=run.step).exists()
        assert (Path(data) / "artifacts").stat().st_mode & 0o007 == 0
