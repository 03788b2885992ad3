"""Where the time of real processes went."""

import os
import signal
from itertools import pairwise

import pytest

from execution.executors.attempt import Attempt
from goodput.account import sums
from goodput.accounting import account_of, began_at
from goodput.attempts import microseconds
from goodput.models import AttemptRecord, DayAccount
from goodput.parts import Part
from runs.models import Run
from runs.status import RunStatus
from tests.execution.worker_loops import over, script_run, tick_until

pytestmark = pytest.mark.django_db

# Saves step 5, and begins again after it; the first attempt does not end by itself.
TRAINING = """
import json, os, pathlib, time
saved = pathlib.Path(os.environ["TRAINHUB_CHECKPOINT_DIR"])
resumed = os.environ.get("TRAINHUB_RESUME_FROM")
metrics = open(os.environ["TRAINHUB_METRICS_FILE"], "a", buffering=1)
for step in range(6 if resumed else 1, 21 if resumed else 100_000):
    print(json.dumps({"step": step, "loss": 1.0}), file=metrics)
    time.sleep(0.02)
    if step == 5:
        draft = saved.parent / "draft"
        draft.write_bytes(b"weights")
        draft.rename(saved / "step-5.pt")
"""


def has_gone_beyond_its_checkpoint(run):
    run.refresh_from_db()
    return run.step >= 15 and run.artifacts.filter(type="checkpoint").exists()


def kill_training(run):
    for process in Attempt.of(run).tree():
        if "python" in process.name() and "-c" in process.cmdline():
            os.kill(process.pid, signal.SIGKILL)


def test_training_that_is_killed_once_repeats_what_it_had_not_saved(loop, short_settle_time):
    run = script_run(TRAINING)
    tick_until(loop, lambda: has_gone_beyond_its_checkpoint(run))

    kill_training(Run.objects.get(pk=run.pk))
    tick_until(loop, lambda: over(run))

    assert run.status == RunStatus.COMPLETED
    assert (run.attempt, run.attempt_start_step) == (2, 5)
    record = AttemptRecord.objects.get(run=run)
    assert record.steps[0][1] == 1
    assert record.steps[-1][1] >= 15
    intervals = account_of(run).intervals
    parts = sums(intervals)
    # Steps 6 to 15 of the first attempt took a fiftieth of a second each, at least.
    assert parts[Part.REPEATED] >= 10 * 15_000
    assert parts[Part.TRAINING] >= 15 * 15_000
    assert parts[Part.STARTING] > 0
    assert all(one.end == other.begin for one, other in pairwise(intervals))
    wall = microseconds(run.finished_at) - microseconds(began_at(run))
    assert sum(parts.values()) == wall


def test_worker_writes_down_where_the_time_of_a_run_went(loop):
    run = script_run("pass")

    tick_until(loop, lambda: over(run) and DayAccount.objects.filter(run=run).exists())
    loop.tick()

    row = DayAccount.objects.filter(run=run).first()
    assert Run.objects.get(pk=run.pk).is_accounted
    assert row.training > 0
