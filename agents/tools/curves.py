"""read_curve: a metric over the steps, as few buckets."""

from __future__ import annotations

from typing import Annotated, Any, Final

from django.utils.translation import gettext as _
from msgspec import Meta

from agents.answers import Answer
from agents.lookups import RunId, Unknown, run_of
from agents.tool import Arguments, Caller, tool
from core.exceptions import InvalidInput
from core.numbers import Int64, json_number
from core.text import MAX_KEY_LENGTH
from metrics import reading
from metrics.goals import by_importance
from runs.models import Run

MAX_BUCKETS: Final = 100
MAX_NAMED: Final = 20  # metrics in a message


class ReadCurve(Arguments, frozen=True):
    run: RunId
    metric: Annotated[
        str, Meta(min_length=1, max_length=MAX_KEY_LENGTH, description="Key, such as train_loss.")
    ]
    buckets: Annotated[
        int, Meta(ge=1, le=MAX_BUCKETS, description="At most so many rows: equal spans of steps.")
    ] = 20
    from_step: Annotated[Int64 | None, Meta(description="To look closer: from this step.")] = None
    to_step: Annotated[Int64 | None, Meta(description="To this step.")] = None


@tool("Read a curve")
def read_curve(caller: Caller, given: ReadCurve) -> Answer:
    """A metric over the steps of a run. Few points are told exactly (columns step, value); more as
    buckets of equal spans, each with its extremes, so that no spike is lost (step, last_step, min,
    max, first, last). To look closer, ask for a range of steps."""
    run = run_of(caller, given.run)
    if None not in (given.from_step, given.to_step) and given.from_step > given.to_step:  # type: ignore[operator]
        raise InvalidInput(_("from_step is greater than to_step."), attr="from_step")
    found = reading.series(
        run.pk,
        [given.metric],
        max_points=given.buckets,
        from_step=given.from_step,
        to_step=given.to_step,
    )
    if not found:
        raise _unknown(run, given.metric)
    return Answer({"run": run.pk, "metric": given.metric, **_rows(found[0])}, rows="rows")


def _rows(curve: reading.Series) -> dict[str, Any]:
    if not curve.buckets:
        points = [[point.step, json_number(point.value)] for point in curve.points]
        return {"columns": ["step", "value"], "rows": points}
    rows = [
        [
            bucket.first_step,
            bucket.last_step,
            json_number(bucket.minimum),
            json_number(bucket.maximum),
            json_number(bucket.first),
            json_number(bucket.last),
        ]
        for bucket in curve.buckets
    ]
    return {"columns": ["step", "last_step", "min", "max", "first", "last"], "rows": rows}


def _unknown(run: Run, metric: str) -> Unknown:
    keys = by_importance(dict.fromkeys(run.metrics, 1)) or sorted(run.metrics)
    message = _("The run has no metric %(name)s. It has: %(known)s.")
    known = ", ".join(key[:60] for key in keys[:MAX_NAMED]) or "-"
    if len(keys) > MAX_NAMED:
        known += ", …"
    return Unknown(message % {"name": metric[:80], "known": known})
