"""Where the time of a run went, and writing that down: one row a run and day (DayAccount).

A run that is over is accounted once, by a worker, soon after its end; so are those of before an
upgrade, in batches. A run that goes on is accounted again every minute. ``account_of`` tells the
same of one run at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Q

from artifacts.models import Artifact
from core.database import current_time
from goodput.account import NOTHING, Interval, account, by_day
from goodput.attempts import Facts, facts_of, facts_of_record, microseconds
from goodput.history import Event, History, is_wanted
from goodput.models import AttemptRecord, DayAccount
from goodput.parts import HELD
from goodput.utilization import mean_utilization_of
from runs.models import EventKind, Run, RunEvent, RunQuerySet
from runs.models.event import ARRIVALS
from runs.status import TERMINAL, RunStatus

RUNS_PER_BATCH: Final = 50
REFRESH: Final = timedelta(minutes=1)  # of runs that go on
# Those that tell where the time went: a run may have any number of others.
_TOLD: Final = (
    *ARRIVALS,
    EventKind.RECOVERED,
    EventKind.RELEASED,
    EventKind.STOP_REQUESTED,
)


@dataclass(frozen=True, slots=True)
class RunAccount:
    """``intervals`` follow each other from when the run was queued until it was over, or until
    ``at``."""

    run: Run
    intervals: list[Interval]
    at: datetime


def began_at(run: Run) -> datetime:
    """When the run was queued; of an unmanaged one, when its script started."""
    if run.is_unmanaged and run.started_at is not None:
        return run.started_at
    return run.queued_at or run.created_at


def account_of(run: Run) -> RunAccount:
    """Up to now, if the run goes on."""
    return _accounts_of([run])[0]


def _accounts_of(runs: Sequence[Run]) -> list[RunAccount]:
    now = current_time()
    ids = [run.pk for run in runs]
    events, records = _events_of(ids), _records_of(ids)
    return [_account_of(run, events.get(run.pk, []), records.get(run.pk, {}), now) for run in runs]


def _events_of(run_ids: Sequence[str]) -> dict[str, list[Event]]:
    rows = RunEvent.objects.filter(Q(kind__in=_TOLD) | ~Q(to_status=""), run__in=run_ids)
    columns = ("run_id", "created_at", "kind", "to_status", "attempt", "reason")
    found: dict[str, list[Event]] = {}
    for run_id, at, kind, to_status, attempt, reason in rows.order_by("id").values_list(*columns):
        event = Event(microseconds(at), kind, to_status, attempt, is_wanted(reason))
        found.setdefault(run_id, []).append(event)
    return found


def _records_of(run_ids: Sequence[str]) -> dict[str, dict[int, AttemptRecord]]:
    found: dict[str, dict[int, AttemptRecord]] = {}
    for record in AttemptRecord.objects.filter(run__in=run_ids).order_by("run", "number"):
        found.setdefault(record.run_id, {})[record.number] = record
    return found


def _account_of(
    run: Run, events: Iterable[Event], records: Mapping[int, AttemptRecord], now: datetime
) -> RunAccount:
    until = run.finished_at or now
    is_completed = run.status == RunStatus.COMPLETED
    facts = {number: facts_of_record(record) for number, record in records.items()}
    facts[run.attempt] = _current_facts(run, facts, microseconds(until) if is_completed else None)
    began, end = microseconds(began_at(run)), microseconds(until)
    history = History(
        facts,
        is_unmanaged=run.is_unmanaged,
        is_completed=is_completed,
        silent_us=int(settings.SILENT_SECONDS * 1_000_000),
    )
    intervals = account(
        history.marks(events, began=began, until=end),
        began=began,
        until=end,
        pauses=[pause for known in facts.values() for pause in known.pauses],
        kept=_kept_step(run),
    )
    return RunAccount(run, intervals, until)


def _current_facts(run: Run, before: Mapping[int, Facts], completed_at: int | None) -> Facts:
    if run.held_seconds is None and not run.is_unmanaged:
        return Facts()  # no worker has ever had it
    earlier = (before[number] for number in sorted(before, reverse=True) if number < run.attempt)
    reached = next((facts.steps[-1][1] for facts in earlier if facts.steps), None)
    return facts_of(run, reached, completed_at=completed_at)


def _kept_step(run: Run) -> int | None:
    """The last step whose result was kept when the run ended; None: of all."""
    if run.status not in TERMINAL or run.status == RunStatus.COMPLETED:
        return None
    whole = Artifact.every.checkpoints().filter(run=run).exclude(metadata__has_key="damage")
    newest: int | None = whole.aggregate(step=Max("step"))["step"]
    return NOTHING if newest is None else newest


# --- writing it down -------------------------------------------------------------------------


def account_ended(*, seconds: float = 1.0) -> int:
    """Account runs that are over, for about ``seconds`` if there are that many; return how many.

    Several workers may do so at once: each takes runs that no other has locked.
    """
    deadline = time.monotonic() + seconds
    total = count = _account_batch()
    while count == RUNS_PER_BATCH and time.monotonic() < deadline:
        count = _account_batch()
        total += count
    return total


@transaction.atomic
def _account_batch() -> int:
    ended = Run.objects.listed().filter(is_accounted=False, finished_at__isnull=False)
    locked = ended.select_for_update(skip_locked=True, no_key=True, of=("self",)).order_by("id")
    # The identifiers first: locking waits for nobody, and then the rows are read as they are now.
    ids = list(locked.values_list("pk", flat=True)[:RUNS_PER_BATCH])
    if ids:
        _write(_accounts_of(list(_brief(Run.objects.filter(pk__in=ids)))))
        Run.objects.filter(pk__in=ids).update(is_accounted=True)
    return len(ids)


def refresh_active() -> int:
    """Account the runs that go on and that were not accounted for a minute; return how many.

    Those that have never been claimed wait, and reports count them as they are.
    """
    recent = DayAccount.objects.filter(run=OuterRef("pk"), updated_at__gt=current_time() - REFRESH)
    claimed = Q(held_seconds__isnull=False) | Q(recipe=None)
    active = Run.objects.listed().active().filter(claimed, ~Exists(recent))
    count = 0
    for pk in active.order_by("id").values_list("pk", flat=True):
        with transaction.atomic():
            count += _refresh(pk)
    return count


def _refresh(pk: str) -> bool:
    """Unless something else has locked the run, or it has ended: then it is not late for that."""
    locked = Run.objects.active().filter(pk=pk)
    run = _brief(locked.select_for_update(skip_locked=True, no_key=True, of=("self",))).first()
    if run is None:
        return False
    _write([account_of(run)])
    return True


def _brief(runs: RunQuerySet) -> RunQuerySet:
    return runs.brief().order_by("id")


def _write(accounts: Sequence[RunAccount]) -> None:
    """Replace what is written down of these runs. Call with their rows locked."""
    DayAccount.objects.filter(run__in=[found.run.pk for found in accounts]).delete()
    rows = [row for found in accounts for row in _rows_of(found)]
    DayAccount.objects.bulk_create(rows, batch_size=500)


def _rows_of(found: RunAccount) -> Iterable[DayAccount]:
    run = found.run
    utilization = mean_utilization_of(run) if run.gpu_count else None
    for number, (day, parts) in enumerate(by_day(found.intervals).items()):
        held = sum(parts[part] for part in HELD)
        yield DayAccount(
            run=run,
            day=day,
            project_id=run.project_id,
            created_by_id=run.created_by_id,
            pool=run.pool or run.gpu_type,
            gpu_count=run.gpu_count,
            is_first=number == 0,
            measured=held if utilization is not None else 0,
            idle=0 if utilization is None else round(held * (1 - min(1.0, utilization))),
            updated_at=found.at,
            **{part.value: microseconds for part, microseconds in parts.items()},
        )


class Accountant:
    """What a worker does for the accounts at each of its passes."""

    def __init__(self) -> None:
        self._next_refresh = 0.0  # monotonic seconds

    def work(self) -> None:
        account_ended()
        if time.monotonic() >= self._next_refresh:
            self._next_refresh = time.monotonic() + REFRESH.total_seconds() / 4
            refresh_active()
