"""Troubles of a running run that pass by themselves, such as a full disk: while they last, they are
its reason.

They are known by their events alone, so that a worker that restarts, or another one, ends what an
earlier one has begun. Call with the run's row locked.
"""

from __future__ import annotations

from typing import Final

from core.messages import Text
from runs.models import EventKind, Run, StopKind, Worker

# The kind of the event that begins a trouble -> that of its end.
ENDS: Final = {
    EventKind.NOT_STORED: EventKind.STORED,
    EventKind.NOT_SENT: EventKind.SENT,
    EventKind.FAULT: EventKind.FAULT_OVER,
}


def begin(run: Run, kind: EventKind, reason: Text, *, worker: Worker) -> bool:
    """Begin a trouble, or change its reason; return False if it has begun for this one already."""
    if _lasting(run).get(kind) == reason:
        return False
    run.note(kind, reason=reason, worker=worker)
    run.change(status_reason=reason)
    return True


def end(run: Run, kind: EventKind, *, worker: Worker) -> None:
    """End a trouble: the run's reason is again what it was without. Idempotent."""
    lasting = _lasting(run)
    if lasting.pop(kind, None) is not None:
        run.note(ENDS[kind], worker=worker)
        others = list(lasting.values())
        run.change(status_reason=others[-1] if others else stall_of(run))


def stall_of(run: Run) -> Text:
    """Why a run is stopped that has stalled; "" if it has not."""
    if run.stop_kind != StopKind.STALLED:
        return ""
    requests = run.events.filter(kind=EventKind.STOP_REQUESTED, attempt=run.attempt)
    # Workers of earlier versions noted the kind alone.
    requests = requests.exclude(reason__in=StopKind.values)
    return requests.order_by("id").values_list("reason", flat=True).last() or ""


def _lasting(run: Run) -> dict[EventKind, Text]:
    """The troubles of the current attempt and their reasons, the latest last."""
    events = run.events.filter(kind__in=[*ENDS, *ENDS.values()], attempt=run.attempt)
    begun: dict[EventKind, Text] = {}
    begins = {over: kind for kind, over in ENDS.items()}
    for name, reason in events.order_by("id").values_list("kind", "reason"):
        kind = EventKind(name)
        begun.pop(begins.get(kind, kind), None)
        if kind in ENDS:
            begun[kind] = reason
    return begun
