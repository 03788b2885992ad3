"""What must hold after a storm. Each function yields the problems of one run, as sentences."""

import re
from collections import Counter
from itertools import pairwise

from django.utils import translation

from goodput.accounting import account_of, began_at
from goodput.attempts import microseconds
from goodput.models import DayAccount
from goodput.parts import Part
from metrics.models import MetricPoint
from runs.models import EventKind
from runs.status import TERMINAL, RunStatus
from tests.chaos.ledger import Ledgers, expected_sum, of_kind, steps_by_attempt
from tests.chaos.plan import CANCELLED
from tests.chaos.witnessed_training import read_state
from tests.factories import stored_path

STEP_LINE = re.compile(r"attempt (\d+) step (\d+)$")
WORKER_DIED = re.compile(r"^Its worker (\S+) died")


def problems_of(planned, folder, strikes):
    """Of all runs."""
    ledgers = Ledgers(folder)
    found = [f"two at once: {conflict}" for conflict in ledgers.conflicts()]
    with translation.override("en"):
        for item in planned:
            item.run.refresh_from_db()
            entries = ledgers.of(item.run)
            for problem in problems_of_run(item, entries, strikes):
                found.append(f"run {item.number} ({item.fate}, {item.run.pk}): {problem}")
    return found


def problems_of_run(item, entries, strikes):
    run = item.run
    mine = [strike for strike in strikes if strike.is_common or strike.hits(run.pk)]
    yield from end_problems(item, entries, mine)
    yield from event_problems(run, entries, mine, strikes)
    yield from execution_problems(run, entries)
    yield from point_problems(run, entries)
    yield from line_problems(run, entries)
    yield from checkpoint_problems(run, entries)
    yield from account_problems(run)


# --- the end ---------------------------------------------------------------------------------


def end_problems(item, entries, strikes):
    run, reason = item.run, str(item.run.status_reason)
    if run.status == RunStatus.COMPLETED:
        ends = [entry["step"] for entry in of_kind(entries, "ended") if entry["code"] == 0]
        if not ends or set(ends) != {item.steps} or run.step != item.steps:
            yield f"has completed at step {run.step} of {item.steps}, its training at {ends}"
        if run.exit_code != 0:
            yield f"has completed with the exit code {run.exit_code}"
    elif run.status == RunStatus.FAILED:
        yield from failure_problems(item, entries, strikes)
    elif run.status == RunStatus.CANCELLED:
        if item.fate not in CANCELLED:
            yield "was cancelled by nobody"
        yield from kept_problems(run, reason)
    else:
        yield f"is not over: {run.status} {reason}"
    if run.worker_id is not None or run.devices or run.held_since is not None:
        yield f"holds {run.devices} of {run.worker} since {run.held_since}"


def failure_problems(item, entries, strikes):
    reason = str(item.run.status_reason)
    yield from unearned_failures(item.run, entries, strikes)
    deaths = len(of_kind(entries, "dies")) + len(strikes)
    if "planned failure" in reason:
        if not of_kind(entries, "fails") or item.run.exit_code != 1:
            yield f"has not failed as planned: {reason} (exit code {item.run.exit_code})"
    elif "No restarts left" not in reason and "without a newer checkpoint" not in reason:
        yield f"has failed for no reason that there was: {reason}"
    elif deaths <= item.max_restarts:
        yield f"has used up {item.max_restarts} restarts by {deaths} deaths: {reason}"


def unearned_failures(run, entries, strikes):
    """Whether the training of its last attempt has done all that it should, and nobody has struck:
    how it has ended is known."""
    done = any(
        entry["attempt"] == run.attempt and entry["code"] == 0 and entry["rank"] == 0
        for entry in of_kind(entries, "ended")
    )
    if done and not any(hit.is_common or hit.attempt[1] == run.attempt for hit in strikes):
        yield f"has failed, its training has completed: {run.status_reason}"


def kept_problems(run, reason):
    sound = sound_steps(run)
    kept = re.search(r"kept the checkpoint at step (\d+)", reason)
    if sound and (kept is None or int(kept[1]) != max(sound)):
        yield f"has checkpoints up to step {max(sound)}, and says: {reason}"
    if not sound and kept is not None:
        yield f"has no checkpoint, and says: {reason}"


# --- its history -----------------------------------------------------------------------------


def event_problems(run, entries, mine, strikes):
    events = list(run.events.order_by("id"))
    changes = [event for event in events if event.to_status]
    for before, after in pairwise(changes):
        if after.from_status and after.from_status != before.to_status:
            yield f"became {after.to_status} from {after.from_status}, was {before.to_status}"
    if changes[-1].to_status != run.status:
        yield f"is {run.status}, its last event says {changes[-1].to_status}"
    if sum(event.to_status in TERMINAL for event in events) != 1:
        yield "has not exactly one end"
    numbers = [event.attempt for event in events]
    if numbers != sorted(numbers) or numbers[-1] != run.attempt:
        yield f"has attempts {numbers}, is at {run.attempt}"
    for event in events:
        if event.kind == EventKind.RECOVERED:
            yield from recovery_problems(event, entries, mine, strikes)


def recovery_problems(event, entries, mine, strikes):
    """Something has happened to the attempt, or to its worker, that its event tells."""
    died = WORKER_DIED.match(str(event.reason))
    if died:
        if not any("worker" in strike.kind and strike.victim == died[1] for strike in strikes):
            yield f"says {event.reason}"
        return
    if any(strike.is_common and strike.at < event.created_at.timestamp() for strike in mine):
        return
    attempts = {strike.attempt[1] for strike in mine if strike.attempt}
    dead = {entry["attempt"] for entry in of_kind(entries, "dies")}
    if event.attempt - 1 not in attempts | dead:  # it tells of the one before
        yield f"says in attempt {event.attempt}: {event.reason}; struck were {attempts}"


def execution_problems(run, entries):
    began = Counter((entry["attempt"], entry["rank"]) for entry in of_kind(entries, "began"))
    for (attempt, rank), count in began.items():
        if count > 1:
            yield f"its attempt {attempt} (rank {rank}) was started {count} times"
        if attempt > run.attempt:
            yield f"its attempt {attempt} was started, it is at {run.attempt}"


# --- what it has reported --------------------------------------------------------------------


def point_problems(run, entries):
    points = MetricPoint.objects.filter(series__run=run, series__key="train_loss")
    rows = list(points.order_by("step", "timestamp_ms").values_list("step", "value"))
    steps = [step for step, _value in rows]
    if steps != list(range(1, len(steps) + 1)):
        yield f"its points are at {_unlike(steps)}"
    if any(abs(value - 1 / step) > 1e-6 for step, value in rows if step):
        yield "its points have other values"
    if steps and steps[-1] != run.step:
        yield f"its last point is at {steps[-1]}, it is at {run.step}"
    last = steps_by_attempt(entries).get(run.attempt)
    if last and (not steps or steps[-1] < last[-1]):
        yield f"its last point is at {steps[-1:]}, its training was at {last[-1]}"


def _unlike(steps):
    doubled = [step for step, count in Counter(steps).items() if count > 1]
    missing = sorted(set(range(1, max(steps) + 1)) - set(steps))
    return f"{len(steps)} steps, doubled {doubled[:5]}, missing {missing[:5]}"


def line_problems(run, entries):
    numbers = list(run.log_lines.order_by("seq").values_list("seq", flat=True))
    if numbers != list(range(1, run.log_count + 1)):
        yield f"{len(numbers)} of its {run.log_count} lines are there"
    messages = run.log_lines.order_by("seq").values_list("message", flat=True)
    told = [match for match in map(STEP_LINE.search, messages) if match]
    stored = Counter((int(match[1]), int(match[2])) for match in told)
    doubled = [line for line, count in stored.items() if count > 1]
    if doubled:
        yield f"lines are doubled: {doubled[:5]}"
    for attempt, steps in steps_by_attempt(entries).items():
        missing = [step for step in steps if (attempt, step) not in stored]
        if missing:
            yield f"lines of attempt {attempt} are missing: steps {missing[:5]} ({len(missing)})"


def sound_steps(run):
    return sorted(artifact.step for artifact in run.artifacts.checkpoints() if not artifact.damage)


def checkpoint_problems(run, entries):
    sound = [artifact for artifact in run.artifacts.checkpoints() if not artifact.damage]
    steps = Counter(artifact.step for artifact in sound)
    doubled = [step for step, count in steps.items() if count > 1]
    if doubled:
        yield f"checkpoints are doubled: {doubled}"
    for artifact in sound:
        state = read_state(stored_path(artifact))
        if state != {"step": artifact.step, "sum": expected_sum(artifact.step)}:
            yield f"the checkpoint of step {artifact.step} has {state}"
    saved = {entry["step"] for entry in of_kind(entries, "saved")}
    if missing := sorted(saved - set(steps)):
        yield f"checkpoints are missing: {missing}, there are {sorted(steps)}"
    if run.status == RunStatus.COMPLETED and run.step not in steps:
        yield f"has no final checkpoint, but {sorted(steps)}"


# --- where its time went ---------------------------------------------------------------------


def account_problems(run):
    found = account_of(run)
    wall = microseconds(run.finished_at) - microseconds(began_at(run))
    total = sum(interval.microseconds for interval in found.intervals)
    if total != wall:
        yield f"the parts of its account are {total} µs of {wall}"
    for before, after in pairwise(found.intervals):
        if before.end != after.begin:
            yield "its account has a gap"
    rows = DayAccount.objects.filter(run=run)
    written = sum(getattr(row, part.value) for row in rows for part in Part)
    if written != wall:
        yield f"what is written down of its time is {written} µs of {wall}"
