"""Whether a run still advances, by the limits of its recipe, and what happens if it does not."""

import sys
from datetime import timedelta

import pytest
from django.utils import timezone
from django.utils.translation import override

from execution.executors.attempt import Attempt
from execution.stalls import stall
from runs.actions import cancel_run, stop_stalled
from runs.models import EventKind, Run
from runs.status import RunStatus
from tests.execution.worker_loops import (
    STEPPER,
    at_step,
    over,
    process_run,
    script_run,
    tick_until,
)
from tests.factories import RecipeFactory, RunFactory, stored_path
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("short_settle_time")]

NOW = timezone.now()


def run_of(*, silence=0, step=0, **seconds_ago):
    recipe = RecipeFactory(stall_silence_seconds=silence, stall_step_seconds=step)
    times = {name: NOW - timedelta(seconds=seconds) for name, seconds in seconds_ago.items()}
    return RunFactory(status=RunStatus.RUNNING, recipe=recipe, step=7, **times)


def reason(run):
    with override("en"):
        return str(stall(run, NOW))


def test_run_without_limits_never_stalls():
    assert reason(run_of(reported_at=10_000, attempt_started_at=10_000)) == ""


def test_run_that_says_nothing_for_too_long_has_stalled():
    assert "nothing for 60 s" in reason(run_of(silence=60, reported_at=61, attempt_started_at=900))
    assert reason(run_of(silence=60, reported_at=59, attempt_started_at=900)) == ""


def test_run_that_never_said_anything_stalls_after_its_start():
    assert reason(run_of(silence=60, attempt_started_at=61))
    assert reason(run_of(silence=60, attempt_started_at=59)) == ""


def test_run_that_prints_but_takes_no_step_has_stalled():
    run = run_of(silence=60, step=600, reported_at=1, stepped_at=601, attempt_started_at=900)

    assert "at step 7 for 600 s" in reason(run)


def test_time_before_the_attempt_does_not_count():
    run = run_of(silence=60, step=60, reported_at=900, stepped_at=900, attempt_started_at=30)

    assert reason(run) == ""


def test_attempt_that_was_not_started_has_not_stalled():
    assert reason(run_of(silence=60, step=60)) == ""


# --- stopping --------------------------------------------------------------------------------

HANGING = """
import json, os, pathlib, signal, sys, time
folder = pathlib.Path(os.environ["TRAINHUB_CHECKPOINT_DIR"])
def save(*_):
    (folder / "step-5.pt").write_text("x")
    sys.exit(1)
def all_reduce():
    time.sleep(600)
signal.signal(signal.SIGTERM, save)
if not os.environ.get("TRAINHUB_RESUME_FROM"):
    with open(os.environ["TRAINHUB_METRICS_FILE"], "a") as metrics:
        metrics.write(json.dumps({"step": 5, "loss": 1.0}) + "\\n")
    all_reduce()
"""


def stalled(loop, **recipe):
    """A run that is about to be stopped because it has stalled."""
    run = script_run(HANGING, stall_silence_seconds=600, **recipe)
    tick_until(loop, lambda: at_step(run, 5))
    be_silent(run)
    tick_until(loop, lambda: run.events.filter(kind=EventKind.STOP_REQUESTED).exists() or over(run))
    return run


def be_silent(run):
    """As if it had reported nothing for 601 seconds."""
    long_ago = timezone.now() - timedelta(seconds=601)
    Run.objects.filter(pk=run.pk).update(reported_at=long_ago, attempt_started_at=long_ago)


def test_stalled_run_restarts_from_the_checkpoint_that_it_saved_when_it_was_stopped(loop):
    run = stalled(loop, stall_action="restart")

    tick_until(loop, lambda: over(run))

    assert (run.status, run.attempt, run.restart_count) == (RunStatus.COMPLETED, 2, 1)
    assert run.artifacts.checkpoints().get().step == 5
    recovered = run.events.get(kind=EventKind.RECOVERED)
    assert "600" in str(recovered.reason)


def test_stalled_run_fails_if_its_recipe_says_so(loop):
    run = stalled(loop, stall_action="fail")

    tick_until(loop, lambda: over(run))

    assert (run.status, run.failure_kind, run.exit_code) == (RunStatus.FAILED, "stalled", 1)
    assert "600" in str(run.status_reason)
    assert run.artifacts.checkpoints().get().step == 5


def test_stacks_of_a_stalled_run_name_the_line_it_hangs_in(loop):
    run = stalled(loop, stall_action="fail")

    artifact = run.artifacts.get(file="stalled/attempt-1.txt")

    assert "all_reduce (<string>:8)" in stored_path(artifact).read_text()
    assert run.log_lines.filter(message__contains=artifact.pk).exists()


def test_cancel_of_a_run_that_is_stopped_for_its_stall_cancels_it(loop):
    run = stalled(loop, stall_action="restart", stop_grace_seconds=60)
    cancel_run(run, by=None, wait_seconds=0)

    tick_until(loop, lambda: over(run))

    assert run.status == RunStatus.CANCELLED
    assert run.artifacts.kept_at_cancel().get().step == 5


def test_run_that_reports_is_not_stopped(loop):
    run = process_run(
        recipe=RecipeFactory(
            command=[sys.executable, str(STEPPER)],
            stall_silence_seconds=600,
            stall_step_seconds=600,
        )
    )
    tick_until(loop, lambda: at_step(run, 3))
    be_silent(run)

    tick_until(loop, lambda: at_step(run, 13))

    assert run.stop_requested_at is None


WAITING = """
import os, time
print("saving", flush=True)
while not os.path.exists({go!r}):
    time.sleep(0.01)
"""


@pytest.mark.parametrize("action", ["fail", "restart"])
def test_run_that_ends_while_its_stacks_are_read_has_ended_by_itself(loop, tmp_path, action):
    go = tmp_path / "go"
    script = WAITING.format(go=str(go))
    run = script_run(script, stall_silence_seconds=600, stall_action=action)
    tick_until(loop, lambda: run.log_lines.exists())
    executor = loop.executors["process"]
    diagnose = executor.diagnose

    def diagnose_slowly(run, worker):
        diagnose(run, worker)
        go.touch()
        wait_until(Attempt.of(run).ending)

    executor.diagnose = diagnose_slowly
    be_silent(run)

    tick_until(loop, lambda: over(run))

    assert (run.status, run.attempt) == (RunStatus.COMPLETED, 1)
    assert run.artifacts.filter(file="stalled/attempt-1.txt").exists()


@pytest.mark.parametrize("code", [0, 3])
def test_run_that_ends_before_it_is_asked_to_stop_has_ended_by_itself(loop, tmp_path, code):
    go = tmp_path / "go"
    script = WAITING.format(go=str(go)) + f"raise SystemExit({code})"
    run = script_run(script, stall_silence_seconds=600, stall_action="restart")
    tick_until(loop, lambda: run.log_lines.exists())
    stop_stalled(run, "Stalled.", worker=loop.worker)
    go.touch()
    wait_until(Attempt.of(run).ending)

    tick_until(loop, lambda: over(run))

    status = RunStatus.FAILED if code else RunStatus.COMPLETED
    assert (run.status, run.attempt, run.exit_code) == (status, 1, code)


def test_run_that_advances_while_its_stacks_are_read_goes_on(loop):
    recipe = RecipeFactory(command=[sys.executable, str(STEPPER)], stall_step_seconds=600)
    run = process_run(recipe=recipe)
    tick_until(loop, lambda: at_step(run, 3))
    process = Attempt.of(run).process()
    process.suspend()
    tick_until(loop, lambda: all_read(run))
    loop.executors["process"].diagnose = lambda run, worker: (
        process.resume() or wait_until(lambda: not all_read(run))
    )
    long_ago = timezone.now() - timedelta(seconds=601)
    Run.objects.filter(pk=run.pk).update(stepped_at=long_ago, attempt_started_at=long_ago)

    loop.tick()

    run.refresh_from_db()
    assert run.stop_kind == ""


def all_read(run):
    run.refresh_from_db()
    size = (Attempt.of(run).directory / "metrics.jsonl").stat().st_size
    return run.executor_state["read"]["1"]["metrics"] == size


def test_run_whose_processes_cannot_be_looked_at_is_stopped_all_the_same(loop, monkeypatch):
    run = script_run(HANGING, stall_silence_seconds=600, stall_action="fail")
    tick_until(loop, lambda: at_step(run, 5))
    monkeypatch.setattr("execution.executors.launcher_executor.stacks_of", lambda processes: 1 / 0)
    be_silent(run)

    tick_until(loop, lambda: over(run))

    assert (run.status, run.failure_kind) == (RunStatus.FAILED, "stalled")
    assert run.log_lines.filter(message__contains="ZeroDivisionError").exists()


def test_argument_that_is_not_utf8_is_no_obstacle(loop):
    script = (
        "import subprocess, sys\n"
        "command = [sys.executable.encode(), b'-c', b'input()', '中文.jsonl'.encode('gbk')]\n"
        "child = subprocess.Popen(command, stdin=subprocess.PIPE)\n"
        "print('ready', flush=True)\n"
        "child.wait()"
    )
    run = script_run(script, stall_silence_seconds=600, stall_action="fail")
    tick_until(loop, lambda: run.log_lines.exists())
    be_silent(run)

    tick_until(loop, lambda: over(run))

    assert run.failure_kind == "stalled"
    text = stored_path(run.artifacts.get(file="stalled/attempt-1.txt")).read_text()
    assert r"\udcd6\udcd0\udcce\udcc4.jsonl" in text


def test_workers_clock_does_not_matter(loop, monkeypatch):
    now = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: now() + timedelta(minutes=20))
    recipe = RecipeFactory(
        command=[sys.executable, str(STEPPER)], stall_step_seconds=600, stall_silence_seconds=600
    )
    run = process_run(recipe=recipe)

    tick_until(loop, lambda: at_step(run, 13))

    assert run.stop_kind == ""
    assert run.attempt_started_at < now() + timedelta(minutes=1)
    assert run.reported_at < now() + timedelta(minutes=1)
