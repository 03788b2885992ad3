"""The tests that every executor passes: the contract in runs/executors.py.

The tests of an executor subclass ``ExecutorContract`` and provide the fixtures ``executor``,
``another_executor`` and ``recipe``, and ``LONG``: hyperparameters of work that does not end during
a test.
"""

from typing import Any, ClassVar

import pytest

from artifacts.checkpoints import latest_sound_checkpoint, resumed_from
from artifacts.kinds import ArtifactType
from artifacts.models import FINAL_CHECKPOINT_NAME, Artifact
from metrics.models import MetricPoint
from runs import attempts
from runs.executors import CannotStart, WorkState
from runs.models import LeaseLost, Run, StopKind, Worker
from runs.status import RunStatus
from tests.factories import RunFactory, WorkerFactory, damage, running
from tests.waiting import wait_until

TOTAL = 60


def steps_of(run, key="train_loss"):
    points = MetricPoint.objects.filter(series__run=run, series__key=key)
    return list(points.order_by("step", "timestamp_ms").values_list("step", flat=True))


def fresh(run):
    return Run.objects.select_related("recipe", "project", "worker").get(pk=run.pk)


def poll(executor, run):
    run = fresh(run)
    return executor.poll(run, run.worker)


def poll_until(executor, run, state):
    """Poll as a worker does until the work is in ``state``; return its status."""

    def work_in_state():
        work = poll(executor, run)
        assert work.state in {state, WorkState.WORKING}, work
        return work if work.state is state else None

    return wait_until(work_in_state)


def work_until_step(executor, run, step):
    wait_until(lambda: poll(executor, run).state is WorkState.WORKING and fresh(run).step >= step)


class ExecutorContract:
    LONG: ClassVar[dict[str, Any]] = {"max_steps": 100_000}

    @pytest.fixture
    def run(self, recipe):
        """A run of TOTAL steps that a worker holds."""
        return running(recipe=recipe, hyperparameters={"max_steps": TOTAL}, total_steps=TOTAL)

    @pytest.fixture
    def long_run(self, recipe):
        return running(recipe=recipe, hyperparameters=self.LONG, total_steps=100_000)

    def start(self, executor, run):
        run = fresh(run)
        executor.start(run, run.worker)

    # --- start and poll ----------------------------------------------------------------------

    def test_work_that_was_never_started_is_absent(self, executor, run):
        assert poll(executor, run).state is WorkState.ABSENT

    def test_started_work_is_working(self, executor, long_run):
        self.start(executor, long_run)

        assert poll(executor, long_run).state is WorkState.WORKING

    def test_start_is_idempotent(self, executor, run):
        self.start(executor, run)
        poll(executor, run)
        self.start(executor, run)

        poll_until(executor, run, WorkState.FINISHED)

        assert steps_of(run) == list(range(1, TOTAL + 1))

    def test_configuration_and_events_are_stored_at_the_start(self, executor, long_run):
        self.start(executor, long_run)

        types = set(long_run.artifacts.values_list("type", flat=True))
        assert {ArtifactType.CONFIG, ArtifactType.EVENT} <= types
        assert all(artifact.problem() is None for artifact in long_run.artifacts.all())

    def test_finished_work_has_reported_everything_once(self, executor, run):
        self.start(executor, run)

        poll_until(executor, run, WorkState.FINISHED)

        done = fresh(run)
        assert (done.step, done.progress) == (TOTAL, 1.0)
        assert steps_of(run) == list(range(1, TOTAL + 1))
        assert latest_sound_checkpoint(done).step == TOTAL
        numbers = list(done.log_lines.order_by("seq").values_list("seq", flat=True))
        assert numbers == list(range(1, done.log_count + 1))

    def test_poll_after_the_end_is_idempotent(self, executor, run):
        self.start(executor, run)
        first = poll_until(executor, run, WorkState.FINISHED)
        before = fresh(run)

        second = poll(executor, run)

        assert second == first
        assert fresh(run).log_count == before.log_count
        assert steps_of(run) == list(range(1, TOTAL + 1))

    def test_restarted_worker_readopts_running_work(self, executor, another_executor, long_run):
        self.start(executor, long_run)
        work_until_step(executor, long_run, 3)
        Worker.objects.update(incarnation=2)

        work_until_step(another_executor, long_run, 6)

        done = steps_of(long_run)
        assert done == list(range(1, len(done) + 1))
        assert fresh(long_run).attempt == 1

    # --- stop and kill -----------------------------------------------------------------------

    def test_stopped_work_has_saved_a_checkpoint_of_its_current_step(self, executor, long_run):
        self.start(executor, long_run)
        work_until_step(executor, long_run, 3)

        executor.stop(fresh(long_run), long_run.worker)
        executor.stop(fresh(long_run), long_run.worker)
        poll_until(executor, long_run, WorkState.STOPPED)

        stopped = fresh(long_run)
        kept = executor.keep_checkpoint(stopped, executor.latest_checkpoint(stopped))
        assert kept.step == stopped.step >= 3
        artifact = Artifact.objects.get(pk=kept.id)
        assert (artifact.name, artifact.problem()) == (FINAL_CHECKPOINT_NAME, None)
        assert poll(executor, long_run).state is WorkState.STOPPED

    def test_checkpoint_deleted_during_the_cancel_is_not_kept(self, executor, long_run):
        self.start(executor, long_run)
        work_until_step(executor, long_run, 3)
        executor.stop(fresh(long_run), long_run.worker)
        poll_until(executor, long_run, WorkState.STOPPED)
        stopped = fresh(long_run)
        latest = executor.latest_checkpoint(stopped)
        Artifact.objects.filter(pk=latest.id).delete()

        kept = executor.keep_checkpoint(stopped, latest)

        assert kept is None or Artifact.objects.get(pk=kept.id).problem() is None

    def test_stop_of_work_that_was_never_started_does_nothing(self, executor, run):
        executor.stop(fresh(run), run.worker)

        assert fresh(run).step == 0

    def test_killed_work_has_died(self, executor, long_run):
        self.start(executor, long_run)
        work_until_step(executor, long_run, 1)

        executor.kill(fresh(long_run), long_run.worker)
        executor.kill(fresh(long_run), long_run.worker)

        assert poll(executor, long_run).state is WorkState.DIED

    def test_kill_of_work_that_was_never_started_does_nothing(self, executor, run):
        executor.kill(fresh(run), run.worker)

        assert fresh(run).status == RunStatus.RUNNING

    def test_next_attempt_continues_from_the_checkpoint_without_duplicates(self, executor, run):
        run.hyperparameters = self.LONG
        run.save()
        self.start(executor, run)
        work_until_step(executor, run, 23)
        executor.kill(fresh(run), run.worker)
        assert poll(executor, run).state is WorkState.DIED
        worker, reached = run.worker, fresh(run).step
        attempts.recover(fresh(run), "It died.")
        fresh(run).claim(worker)

        assert poll(executor, run).state is WorkState.ABSENT
        self.start(executor, run)
        work_until_step(executor, run, reached + 10)

        done = steps_of(run)
        assert fresh(run).attempt == 2
        assert done == list(range(1, len(done) + 1))

    def test_abandoning_the_next_attempt_keeps_what_the_earlier_one_saved(self, executor, run):
        run.hyperparameters = self.LONG
        run.save()
        self.start(executor, run)
        # Far enough past step 10 that its checkpoint counts as complete.
        work_until_step(executor, run, 23)
        executor.kill(fresh(run), run.worker)
        run.refresh_from_db()
        worker = run.worker
        run.request_stop(StopKind.CANCEL, by=None)
        attempts.take_over(run, worker, "Its worker died.")

        executor.abandon(fresh(run), worker)

        current = fresh(run)
        kept = executor.keep_checkpoint(current, executor.latest_checkpoint(current))
        assert kept.step >= 10
        assert poll(executor, run).state is WorkState.ABSENT

    # --- resuming from a checkpoint ----------------------------------------------------------

    def resumed(self, executor, run):
        """Finish ``run``; return a run that resumes from its checkpoint."""
        self.start(executor, run)
        poll_until(executor, run, WorkState.FINISHED)
        source = latest_sound_checkpoint(fresh(run))
        return running(
            recipe=run.recipe,
            project=run.project,
            hyperparameters={"max_steps": TOTAL + 20},
            total_steps=TOTAL + 20,
            resumed_from_id=source.pk,
            start_step=source.step,
            step=source.step,
        )

    def test_resumed_work_begins_after_its_checkpoints_step(self, executor, run):
        resumed = self.resumed(executor, run)

        self.start(executor, resumed)
        poll_until(executor, resumed, WorkState.FINISHED)

        assert steps_of(resumed) == list(range(TOTAL + 1, TOTAL + 21))

    def test_damaged_checkpoint_to_resume_from_is_refused(self, executor, run):
        resumed = self.resumed(executor, run)
        damage(resumed_from(resumed))

        with pytest.raises(CannotStart, match=resumed.resumed_from_id):
            self.start(executor, resumed)

        assert steps_of(resumed) == []

    # --- the lease ---------------------------------------------------------------------------

    @pytest.mark.parametrize("loss", ["a new incarnation", "another worker", "the end"])
    def test_worker_that_lost_its_lease_writes_nothing(self, executor, long_run, loss):
        self.start(executor, long_run)
        poll(executor, long_run)
        mine, former = fresh(long_run), long_run.worker
        if loss == "a new incarnation":
            Worker.objects.update(incarnation=2)
        elif loss == "another worker":
            mine.change(worker=WorkerFactory())
        else:
            mine.transition(RunStatus.CANCELLED)
        before = fresh(long_run)

        with pytest.raises(LeaseLost):
            executor.poll(mine, former)

        after = fresh(long_run)
        assert (after.step, after.log_count) == (before.step, before.log_count)

    def test_start_without_the_lease_is_refused(self, executor, run):
        Worker.objects.update(incarnation=2)

        with pytest.raises(LeaseLost):
            executor.start(run, run.worker)

        assert not run.artifacts.exists()

    # --- the end -----------------------------------------------------------------------------

    def test_forgotten_run_keeps_its_reported_data(self, executor, run):
        self.start(executor, run)
        poll_until(executor, run, WorkState.FINISHED)
        fresh(run).transition(RunStatus.COMPLETED)

        executor.forget(fresh(run))
        executor.forget(fresh(run))

        assert steps_of(run) == list(range(1, TOTAL + 1))
        assert latest_sound_checkpoint(fresh(run)).step == TOTAL

    def test_tidying_leaves_running_work_alone(self, executor, long_run):
        self.start(executor, long_run)
        RunFactory(status=RunStatus.COMPLETED)

        executor.tidy()

        work_until_step(executor, long_run, 1)
