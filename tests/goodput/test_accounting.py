"""Where the time of runs went, by the history that the real actions write."""

from datetime import timedelta

import pytest
from django.utils import timezone

from goodput import accounting
from goodput.account import sums
from goodput.accounting import account_ended, account_of, refresh_active
from goodput.models import AttemptRecord, DayAccount
from goodput.parts import Part
from metrics.recording import rewind, rewind_to_start
from runs import actions, attempts
from runs.executors import WorkState, WorkStatus
from runs.models import FailureKind, Run, StopKind, Worker
from runs.status import RunStatus
from runs.unmanaged import create_unmanaged_run, report_status
from tests.factories import ProjectFactory, RunFactory, running, unmanaged_run
from tests.goodput.story import START, Story, second

pytestmark = pytest.mark.django_db

DIED = WorkStatus(WorkState.DIED, "killed")
FINISHED = WorkStatus(WorkState.FINISHED, exit_code=0)
STOPPED = WorkStatus(WorkState.STOPPED, exit_code=0)


def settle(work, story):
    return lambda run: actions.settle(run, work, worker=story.worker)


def test_run_that_completes():
    story = Story()

    story.claim(5)
    story.steps(12, *range(1, 21))
    story.at(32, settle(FINISHED, story))

    assert story.parts() == {"waiting": 5, "starting": 7, "training": 20}


def test_run_that_is_killed_and_restarted_repeats_what_it_had_not_saved():
    story = Story()

    story.claim(0)
    story.steps(10, *range(1, 51))
    story.save(30)
    story.at(62, settle(DIED, story))
    story.claim(70)
    rewind(Run.objects.get(pk=story.run.pk), 30)
    story.steps(80, *range(31, 61))
    story.at(110, settle(FINISHED, story))

    # Step 30 was reached at 39.
    assert story.parts() == {
        "starting": 10 + 10, "training": 29 + 30, "repeated": 62 - 39, "down": 8
    }  # fmt: skip


def test_restart_without_a_checkpoint_repeats_everything():
    story = Story()

    story.claim(0)
    story.steps(10, *range(1, 51))
    story.at(60, settle(DIED, story))
    story.claim(60)
    rewind_to_start(Run.objects.get(pk=story.run.pk))
    story.steps(70, *range(1, 11))
    story.at(80, settle(FINISHED, story))

    assert story.parts() == {"starting": 20, "training": 10, "repeated": 50}


def test_two_failures_after_one_checkpoint_repeat_twice():
    story = Story()

    story.claim(0)
    story.steps(0, *range(21))
    story.save(10)
    story.at(20, settle(DIED, story))
    for begins in (20, 40):
        story.claim(begins)
        rewind(Run.objects.get(pk=story.run.pk), 10)
        story.steps(begins + 5, *range(11, 26))
        story.at(begins + 20, settle(DIED if begins == 20 else FINISHED, story))

    assert story.parts() == {"starting": 10, "training": 10 + 15, "repeated": 10 + 15}


def test_worker_that_is_lost_leaves_the_run_down_since_its_last_heartbeat():
    story = Story()

    story.claim(0)
    story.steps(0, *range(31))
    Worker.objects.filter(pk=story.worker.pk).update(last_heartbeat=second(33))
    story.at(60, lambda run: actions.reap(run, "Its worker died.", by=story.worker))
    Worker.objects.filter(pk=story.worker.pk).update(last_heartbeat=timezone.now())
    story.claim(65)
    story.steps(70, *range(31, 41))
    story.at(80, settle(FINISHED, story))

    assert story.parts() == {"training": 33 + 10, "down": 65 - 33, "starting": 5}


def test_run_that_stalls_is_stopped_and_restarted():
    story = Story()
    story.run.recipe.stall_action = "restart"
    story.run.recipe.save()

    story.claim(0)
    story.steps(0, *range(11))
    story.at(40, lambda run: actions.stop_stalled(run, "Stalled.", worker=story.worker))
    story.at(45, settle(STOPPED, story))
    story.claim(50)
    rewind_to_start(Run.objects.get(pk=story.run.pk))
    story.steps(50, *range(11))
    story.at(60, settle(FINISHED, story))

    assert story.parts() == {
        "repeated": 10, "stalled": 30, "stopping": 5, "down": 5, "training": 10
    }  # fmt: skip


def test_silence_until_the_end_is_a_stall(settings):
    settings.SILENT_SECONDS = 60
    story = Story()

    story.claim(0)
    story.steps(0, *range(11))
    Run.objects.filter(pk=story.run.pk).update(reported_at=second(10))
    story.at(110, settle(DIED, story))
    story.claim(110)

    Run.objects.filter(pk=story.run.pk).update(finished_at=None)
    assert {key: story.parts()[key] for key in ("training", "stalled")} == {
        "training": 10, "stalled": 100
    }  # fmt: skip


def test_silence_that_is_short_is_training(settings):
    settings.SILENT_SECONDS = 600
    story = Story()

    story.claim(0)
    story.steps(0, *range(11))
    Run.objects.filter(pk=story.run.pk).update(reported_at=second(10))
    story.at(110, settle(FINISHED, story))

    assert story.parts() == {"training": 110}


def test_cancelled_run_keeps_what_its_checkpoint_holds():
    story = Story()

    story.claim(0)
    story.steps(10, *range(1, 31))
    story.at(40, lambda run: run.request_stop(StopKind.CANCEL, by=None))
    story.save(30)
    story.at(48, settle(STOPPED, story))

    assert story.run.status == RunStatus.CANCELLED
    assert story.parts() == {"starting": 10, "training": 29, "repeated": 1, "stopping": 8}


def test_cancelled_run_without_a_checkpoint_has_thrown_its_training_away():
    story = Story()

    story.claim(0)
    story.steps(10, *range(1, 31))
    story.at(40, lambda run: run.request_stop(StopKind.CANCEL, by=None))
    story.at(48, settle(STOPPED, story))

    assert story.parts() == {"starting": 10, "repeated": 30, "stopping": 8}


def test_run_cancelled_in_the_queue_waited():
    story = Story()

    story.at(30, lambda run: actions.cancel_run(run, by=None))

    assert story.run.status == RunStatus.CANCELLED
    assert story.parts() == {"waiting": 30}


def test_run_that_fails_to_start_was_starting():
    story = Story()

    story.claim(4)
    story.at(9, settle(WorkStatus(WorkState.FAILED, "no such file"), story))

    assert story.run.failure_kind == FailureKind.CANNOT_START
    assert story.parts() == {"waiting": 4, "starting": 5}


def test_work_without_steps_counts_from_the_start_of_its_process_once_it_has_completed():
    story = Story()

    story.claim(0)
    Run.objects.filter(pk=story.run.pk).update(attempt_started_at=second(3))
    story.at(20, settle(FINISHED, story))

    assert story.parts() == {"starting": 3, "training": 17}


def test_run_released_by_its_worker_is_down_until_the_next_claim():
    story = Story()

    story.claim(0)
    story.steps(0, *range(11))
    story.at(11, lambda run: attempts.release(run, story.worker, next_attempt=True))
    story.claim(20)
    rewind(Run.objects.get(pk=story.run.pk), 10)
    story.steps(22, 11, 12)
    story.at(23, settle(FINISHED, story))

    assert story.parts() == {
        "training": 10 + 1, "repeated": 1, "down": 9, "starting": 2
    }  # fmt: skip


def test_work_in_the_database_that_is_released_goes_on_where_it_was():
    story = Story()

    story.claim(0)
    story.steps(0, *range(11))
    story.at(10, lambda run: attempts.release(run, story.worker, next_attempt=False))
    story.claim(20)
    story.steps(21, *range(11, 21))
    story.at(30, settle(FINISHED, story))

    assert story.parts() == {"training": 10 + 9, "down": 10, "starting": 1}


def test_saving_and_evaluating_are_what_steps_take_longer():
    story = Story()

    story.claim(0)
    story.steps(0, *range(21))
    story.steps(26, 20, key="eval/loss")  # step 20 is at 20
    story.steps(30, *range(21, 41))  # ten seconds after it, of which one is a step's
    story.save(20)
    story.at(49, settle(FINISHED, story))

    assert story.parts() == {"training": 40, "evaluating": 6, "saving": 3}


def test_attempt_that_reports_evaluations_alone_evaluates():
    story = Story()

    story.claim(0)
    story.steps(5, *range(11), key="eval/accuracy")
    story.at(20, settle(FINISHED, story))

    assert story.parts() == {"starting": 5, "evaluating": 15}


def test_script_elsewhere_counts_from_its_start():
    run = unmanaged_run(started_at=START, status=RunStatus.COMPLETED, finished_at=second(20))

    found = sums(account_of(run).intervals)

    assert {part: time for part, time in found.items() if time} == {Part.TRAINING: 20_000_000}


def test_unmanaged_run_that_is_reopened():
    run = create_unmanaged_run(ProjectFactory(), by=None)
    report_status(Run.objects.lock(run.pk), RunStatus.COMPLETED, by=None)
    report_status(Run.objects.lock(run.pk), RunStatus.RUNNING, by=None)

    found = account_of(Run.objects.get(pk=run.pk))

    assert AttemptRecord.objects.get(run=run).number == 1
    parts = [interval.part for interval in found.intervals]
    assert Part.DOWN in parts
    assert parts[-1] == Part.STARTING


# --- what is written down --------------------------------------------------------------------


def test_run_that_is_over_is_written_down_once():
    story = Story(gpu_count=4, gpu_type="A100")
    story.claim(0)
    story.steps(10, *range(1, 11))
    story.at(20, settle(FINISHED, story))

    assert account_ended() == 1
    assert account_ended() == 0

    row = DayAccount.objects.get(run=story.run)
    assert (row.day, row.gpu_count, row.pool) == (START.date(), 4, "A100")
    assert (row.starting, row.training) == (10_000_000, 10_000_000)


def test_days_of_a_run_sum_to_its_wall_time():
    story = Story()
    story.claim(3600)
    story.at(3 * 86_400 + 17, settle(FINISHED, story))

    account_ended()

    rows = DayAccount.objects.filter(run=story.run)
    assert rows.count() == 4
    total = sum(getattr(row, part) for row in rows for part in Part)
    assert total == (3 * 86_400 + 17) * 1_000_000


def test_run_that_goes_on_is_written_down_again_after_a_minute(monkeypatch):
    run = RunFactory()
    run.claim(running().worker)

    assert refresh_active() == 1
    assert refresh_active() == 0
    monkeypatch.setattr(accounting, "REFRESH", timedelta(0))
    assert refresh_active() == 1

    assert DayAccount.objects.filter(run=run).exists()


def test_run_that_waits_is_left_to_reports():
    RunFactory()

    assert refresh_active() == 0


def test_run_that_is_reopened_is_accounted_anew():
    run = create_unmanaged_run(ProjectFactory(), by=None)
    report_status(Run.objects.lock(run.pk), RunStatus.COMPLETED, by=None)
    account_ended()

    report_status(Run.objects.lock(run.pk), RunStatus.RUNNING, by=None)

    assert not Run.objects.get(pk=run.pk).is_accounted


def test_backfill_accounts_every_run_of_before():
    RunFactory.create_batch(3, status=RunStatus.COMPLETED, queued_at=START)

    assert account_ended() == 3
    assert not Run.objects.filter(is_accounted=False, finished_at__isnull=False).exists()


def test_measured_utilization_is_a_mean_over_the_run():
    story = Story(gpu_count=2)
    story.claim(0)
    for number, value in enumerate((100.0, 50.0)):
        key = f"system/gpu_{number}_utilization_percentage"
        story.steps(1, 0, 1, 2, key=key)
        story.run.series.get(key=key).points.update(value=value)
    story.at(20, settle(FINISHED, story))

    account_ended()

    row = DayAccount.objects.get(run=story.run)
    assert (row.measured, row.idle) == (20_000_000, 5_000_000)
