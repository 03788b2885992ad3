"""What pages ask for curves with, and the JSON and CSV they get.

A curve is an object of columns, which are as long as each other. An exact one has ``step``, ``ms``
(Unix time) and ``value``; one of buckets also ``first_step``, ``first_ms``, ``min``, ``max`` and
``count``, and its ``step``, ``ms`` and ``value`` are those of the last point of each bucket. The
steps of the extremes are told as ``min_after`` and ``max_after``: how many steps after
``first_step`` they are. What JSON lacks is "NaN", "Infinity" or "-Infinity".
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson
from django.http import QueryDict
from django.utils.translation import gettext as _

from core.exceptions import InvalidInput
from core.numbers import MAX_BIGINT, MIN_BIGINT, json_number
from core.text import neutral
from core.times import iso_times
from metrics import curves
from metrics.curve_queries import Numbers, StoredCurve
from metrics.curves import Buckets, Curve, Known

MAX_KEYS: Final = 200
MAX_RUNS: Final = 51  # fifty that are compared, or a run with its ancestors
MAX_WIDTH: Final = 4000
DEFAULT_WIDTH: Final = 800


class InvalidQuery(InvalidInput):
    code = "invalid_query"


@dataclass(frozen=True, slots=True)
class SeriesQuery:
    """The query ``?key=…&key=…&from=&to=&width=&have=…``, of a page that knows which runs.

    ``have``, once for each curve that the page has already: ``run:shift:step:key``, where ``shift``
    is empty for an exact curve.
    """

    keys: list[str]
    run_ids: list[str]
    width: int = DEFAULT_WIDTH
    from_step: int | None = None
    to_step: int | None = None
    known: Mapping[tuple[str, str], Known] = field(default_factory=dict)

    @classmethod
    def of(cls, params: QueryDict) -> SeriesQuery:
        """Raises InvalidQuery."""
        known = dict(_known(text) for text in params.getlist("have"))
        keys = [*params.getlist("key"), *(key for _run, key in known)]
        run_ids = [*params.getlist("run"), *(run for run, _key in known)]
        query = cls(
            list(dict.fromkeys(keys)),
            list(dict.fromkeys(run_ids)),
            _whole_number(params.get("width"), "width", 1, MAX_WIDTH) or DEFAULT_WIDTH,
            _whole_number(params.get("from"), "from", MIN_BIGINT, MAX_BIGINT),
            _whole_number(params.get("to"), "to", MIN_BIGINT, MAX_BIGINT),
            known,
        )
        if len(query.keys) > MAX_KEYS:
            raise InvalidQuery(_("At most %(limit)d metrics at a time.") % {"limit": MAX_KEYS})
        if len(query.run_ids) > MAX_RUNS:
            raise InvalidQuery(_("At most %(limit)d runs at a time.") % {"limit": MAX_RUNS})
        return query

    def find(self, run_ids: list[str]) -> list[StoredCurve]:
        """What there is of the curves asked for: of each of ``keys`` for each run, or only of those
        that the page has."""
        found = curves.find(run_ids, self.keys)
        if self.known:
            found = [row for row in found if (row.run_id, row.key) in self.known]
        return found

    def read(self, stored: list[StoredCurve]) -> list[Curve]:
        return curves.read(
            stored,
            width=self.width,
            from_step=self.from_step,
            to_step=self.to_step,
            known=self.known,
        )


def _whole_number(text: str | None, name: str, low: int, high: int) -> int | None:
    if not text:
        return None
    try:
        number = int(text) if len(text) <= 20 else high + 1
    except ValueError:
        number = high + 1
    if not low <= number <= high:
        raise InvalidQuery(
            _("%(name)s must be a whole number from %(low)d to %(high)d.")
            % {"name": name, "low": low, "high": high}
        )
    return number


def _known(text: str) -> tuple[tuple[str, str], Known]:
    run_id, shift, step, key = [*text.split(":", 3), "", "", ""][:4]
    at = _whole_number(step, "have", MIN_BIGINT, MAX_BIGINT)
    if at is None or not key:
        raise InvalidQuery(_("Write have as run:shift:step:key."))
    return (run_id, key), Known(_whole_number(shift, "have", 0, curves.WIDEST_SHIFT), at)


# --- answers ---------------------------------------------------------------------------------


def as_json(found: list[Curve]) -> bytes:
    return orjson.dumps(
        {"curves": [_curve(curve) for curve in found]}, option=orjson.OPT_SERIALIZE_NUMPY
    )


def _curve(curve: Curve) -> dict[str, Any]:
    data = curve.data
    if isinstance(data, Buckets):
        columns = {
            "count": data.count,
            "min": data.minimum,
            "min_after": data.minimum_step - data.first_step,
            "max": data.maximum,
            "max_after": data.maximum_step - data.first_step,
            "first_step": data.first_step,
            "first_ms": data.first_ms,
            "step": data.step,
            "ms": data.ms,
            "value": data.value,
        }
    else:
        columns = {"step": data.step, "ms": data.ms, "value": data.value}
    return {
        "run": curve.run_id,
        "key": curve.key,
        "total": curve.total,
        "exact": curve.is_exact,
        "shift": curve.shift,
        "continued": curve.is_continued,
        "last_step": curve.last_step,
        **{name: _numbers(column) for name, column in columns.items()},
    }


def _numbers(column: Numbers) -> Any:
    if column.dtype.kind != "f":
        return column
    finite = np.isfinite(column)
    return column if finite.all() else [json_number(value) for value in column.tolist()]


CSV_HEADER: Final = (
    "run",
    "metric",
    "first_step",
    "step",
    "time",
    "value",
    "minimum",
    "minimum_step",
    "maximum",
    "maximum_step",
    "points",
)


def as_csv(found: list[Curve]) -> Iterator[str]:
    """The rows of a CSV file, those of a curve at a time."""
    yield _csv_lines([CSV_HEADER])
    for curve in found:
        yield _csv_lines(_csv_rows(curve))


def _csv_lines(rows: Any) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()


def _csv_rows(curve: Curve) -> Iterator[tuple[Any, ...]]:
    data = curve.data
    buckets = data if isinstance(data, Buckets) else None
    steps, values = data.step.tolist(), _texts(data.value)
    ones = [1] * len(steps)
    yield from zip(
        [curve.run_id] * len(steps),
        [neutral(curve.key)] * len(steps),
        buckets.first_step.tolist() if buckets else steps,
        steps,
        iso_times(data.ms.tolist()),
        values,
        _texts(buckets.minimum) if buckets else values,
        buckets.minimum_step.tolist() if buckets else steps,
        _texts(buckets.maximum) if buckets else values,
        buckets.maximum_step.tolist() if buckets else steps,
        buckets.count.tolist() if buckets else ones,
        strict=True,
    )


def _texts(column: Numbers) -> list[float | str | None]:
    return [json_number(value) for value in column.tolist()]
