"""The tests that every executor passes: runs/executors/base.py, sentence by sentence.

A module of an executor's own tests subclasses ``ExecutorContract`` and gives it the fixtures
``executor`` and ``recipe``, and ``LONG``: hyperparameters of a work that does not end by itself
while a test looks at it.
"""

from typing import Any, ClassVar

import pytest

from artifacts.models import ArtifactType
from runs.executors.base import CannotStart, Work
from runs.models import MetricPoint, Run, StopKind, Worker
from runs.models.run import LeaseLost
from runs.outputs import latest_sound_checkpoint
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


def poll_until(executor, run, work):
    """Poll as a worker does; the observation whose work is the one waited for."""

    def look():
        observation = poll(executor, run)
        assert observation.work in {work, Work.WORKING}, observation
        return observation if observation.work is work else None

    return wait_until(look)


def work_until_step(executor, run, step):
    wait_until(lambda: poll(executor, run).work is Work.WORKING and fresh(run).step >= step)


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
        assert poll(executor, run).work is Work.ABSENT

    def test_started_work_works(self, executor, long_run):
        self.start(executor, long_run)

        assert poll(executor, long_run).work is Work.WORKING

    def test_start_again_changes_nothing(self, executor, run):
        self.start(executor, run)
        poll(executor, run)
        self.start(executor, run)

        poll_until(executor, run, Work.FINISHED)

        assert steps_of(run) == list(range(1, TOTAL + 1))

    def test_configuration_and_events_are_there_from_the_start(self, executor, long_run):
        self.start(executor, long_run)

        types = set(long_run.artifacts.values_list("type", flat=True))
        assert {ArtifactType.CONFIG, ArtifactType.EVENT} <= types
        assert all(artifact.problem() is None for artifact in long_run.artifacts.all())

    def test_finished_work_has_reported_everything_once(self, executor, run):
        self.start(executor, run)

        poll_until(executor, run, Work.FINISHED)

        done = fresh(run)
        assert (done.step, done.progress) == (TOTAL, 1.0)
        assert steps_of(run) == list(range(1, TOTAL + 1))
        assert latest_sound_checkpoint(done).step == TOTAL
        numbers = list(done.log_lines.order_by("seq").values_list("seq", flat=True))
        assert numbers == list(range(1, done.log_count + 1))

    def test_end_asked_for_again_is_the_same_and_reports_nothing_new(self, executor, run):
        self.start(executor, run)
        first = poll_until(executor, run, Work.FINISHED)
        before = fresh(run)

        second = poll(executor, run)

        assert second == first
        assert fresh(run).log_count == before.log_count
        assert steps_of(run) == list(range(1, TOTAL + 1))

    def test_restarted_worker_takes_up_what_works(self, executor, another_executor, long_run):
        self.start(executor, long_run)
        work_until_step(executor, long_run, 3)
        Worker.objects.update(incarnation=2)

        work_until_step(another_executor, long_run, 6)

        done = steps_of(long_run)
        assert done == list(range(1, len(done) + 1))
        assert fresh(long_run).attempt == 1

    # --- stop and kill -----------------------------------------------------------------------

    def test_stopped_work_has_saved_a_checkpoint_of_its_very_step(self, executor, long_run):
        self.start(executor, long_run)
        work_until_step(executor, long_run, 3)

        executor.stop(fresh(long_run), long_run.worker)
        executor.stop(fresh(long_run), long_run.worker)
        poll_until(executor, long_run, Work.STOPPED)

        stopped = fresh(long_run)
        checkpoint = executor.final_checkpoint(stopped, latest_sound_checkpoint(stopped))
        assert checkpoint.step == stopped.step >= 3
        assert checkpoint.problem() is None
        assert poll(executor, long_run).work is Work.STOPPED

    def test_stop_of_work_that_was_never_started_is_nothing(self, executor, run):
        executor.stop(fresh(run), run.worker)

        assert fresh(run).step == 0

    def test_killed_work_has_died(self, executor, long_run):
        self.start(executor, long_run)
        work_until_step(executor, long_run, 1)

        executor.kill(fresh(long_run), long_run.worker)
        executor.kill(fresh(long_run), long_run.worker)

        assert poll(executor, long_run).work is Work.DIED

    def test_kill_of_work_that_was_never_started_is_nothing(self, executor, run):
        executor.kill(fresh(run), run.worker)

        assert fresh(run).status == RunStatus.RUNNING

    def test_next_attempt_goes_on_from_the_checkpoint_and_no_step_is_doubled(self, executor, run):
        run.hyperparameters = self.LONG
        run.save()
        self.start(executor, run)
        work_until_step(executor, run, 23)
        executor.kill(fresh(run), run.worker)
        assert poll(executor, run).work is Work.DIED
        worker, reached = run.worker, fresh(run).step
        fresh(run).recover("It died.")
        fresh(run).claim(worker)

        assert poll(executor, run).work is Work.ABSENT
        self.start(executor, run)
        work_until_step(executor, run, reached + 10)

        done = steps_of(run)
        assert fresh(run).attempt == 2
        assert done == list(range(1, len(done) + 1))

    def test_stop_before_the_next_attempt_keeps_what_the_earlier_one_saved(self, executor, run):
        run.hyperparameters = self.LONG
        run.save()
        self.start(executor, run)
        # Past the checkpoint of step 10 by longer than one has to be still to count as whole.
        work_until_step(executor, run, 23)
        executor.kill(fresh(run), run.worker)
        run.refresh_from_db()
        worker = run.worker
        run.request_stop(StopKind.CANCEL, by=None)
        run.take_over(worker, "Its worker died.")

        executor.stop(fresh(run), worker)

        current = fresh(run)
        kept = executor.final_checkpoint(current, latest_sound_checkpoint(current))
        assert kept.step >= 10
        assert poll(executor, run).work is Work.ABSENT

    # --- from a checkpoint -------------------------------------------------------------------

    def resumed(self, executor, run):
        """A run from a checkpoint of ``run`` that finished."""
        self.start(executor, run)
        poll_until(executor, run, Work.FINISHED)
        source = latest_sound_checkpoint(fresh(run))
        return running(
            recipe=run.recipe,
            project=run.project,
            hyperparameters={"max_steps": TOTAL + 20},
            total_steps=TOTAL + 20,
            resumed_from=source,
            start_step=source.step,
            step=source.step,
        )

    def test_resumed_work_begins_after_its_checkpoints_step(self, executor, run):
        resumed = self.resumed(executor, run)

        self.start(executor, resumed)
        poll_until(executor, resumed, Work.FINISHED)

        assert steps_of(resumed) == list(range(TOTAL + 1, TOTAL + 21))

    def test_damaged_checkpoint_to_resume_from_is_refused(self, executor, run):
        resumed = self.resumed(executor, run)
        damage(resumed.resumed_from)

        with pytest.raises(CannotStart, match=resumed.resumed_from.pk):
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

    def test_forgotten_run_keeps_what_it_reported(self, executor, run):
        self.start(executor, run)
        poll_until(executor, run, Work.FINISHED)
        fresh(run).transition(RunStatus.COMPLETED)

        executor.forget(fresh(run))
        executor.forget(fresh(run))

        assert steps_of(run) == list(range(1, TOTAL + 1))
        assert latest_sound_checkpoint(fresh(run)).step == TOTAL

    def test_tidying_leaves_alone_what_works(self, executor, long_run):
        self.start(executor, long_run)
        RunFactory(status=RunStatus.COMPLETED)

        executor.tidy()

        work_until_step(executor, long_run, 1)
