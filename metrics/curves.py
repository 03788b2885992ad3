"""Read many curves at once, as thin as a chart is wide, in columns of numbers.

For pages and pictures; the API reads curves with metrics/reading.py. A curve has every point of the
range if they are few, otherwise buckets of ``2 ** shift`` steps, which begin at multiples of that:
so a chart that is moved or extended gets the same buckets again, and only the last one changes
while points arrive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from core.numbers import MAX_BIGINT, MIN_BIGINT
from metrics import reading
from metrics.bucket_queries import COARSER
from metrics.curve_queries import (
    Numbers,
    Span,
    StoredCurve,
    bucket_columns,
    point_columns,
    stored_curves,
)

# A curve of no more points in the range has all of them: a person who looks at a thousand steps
# sees what was reported.
EXACT_POINTS: Final = 2000
# Of all curves of a request together, but for FEWEST_EXACT_POINTS of each.
EXACT_POINTS_IN_ALL: Final = 60_000
FEWEST_EXACT_POINTS: Final = 400
# Of a curve at most: more are read from its buckets, or, where they are in none, by time.
POINTS_READ: Final = 100_000
# Of the buckets that are stored, the coarsest of which there is one for this many pixels are read.
PIXELS_PER_BUCKET: Final = 3
# Steps of one curve so far apart that their difference exceeds an int64 are not divided further.
WIDEST_SHIFT: Final = 62

EMPTY: Final[Numbers] = np.empty(0, dtype=np.int64)
NO_VALUES: Final[Numbers] = np.empty(0, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Points:
    """Every point of the range, by (step, timestamp, value)."""

    step: Numbers
    ms: Numbers  # Unix time in milliseconds, as all times here
    value: Numbers


@dataclass(frozen=True, slots=True)
class Buckets:
    """Consecutive points drawn as one. ``minimum`` and ``maximum``, each with its first step, are
    NaN if every value is. ``value`` is the last one."""

    count: Numbers
    minimum: Numbers
    minimum_step: Numbers
    maximum: Numbers
    maximum_step: Numbers
    first_step: Numbers
    first_ms: Numbers
    step: Numbers  # the last one
    ms: Numbers
    value: Numbers


@dataclass(frozen=True, slots=True)
class Known:
    """What a chart has of a curve: buckets of ``shift``, or points if that is None, up to ``step``,
    whose bucket may have grown since."""

    shift: int | None
    step: int


@dataclass(frozen=True, slots=True)
class Curve:
    """A metric of a run within a range of steps: points or buckets, never both."""

    run_id: str
    key: str
    total: int  # points of the whole curve
    last_step: int  # of the whole curve
    data: Points | Buckets
    shift: int | None = None  # of buckets that begin at multiples of 2 ** shift
    is_continued: bool = False  # only from the bucket or point on at which Known ends

    @property
    def is_exact(self) -> bool:
        return isinstance(self.data, Points)


def version(stored: Iterable[StoredCurve]) -> str:
    """Changes with every point of these curves."""
    digest = hashlib.blake2b(digest_size=12)
    for row in stored:
        digest.update(f"{row.id} {row.count} {row.last_timestamp_ms} {row.last_value!r}\n".encode())
    return digest.hexdigest()


def readable(texts: Iterable[str]) -> list[str]:
    """Those that PostgreSQL takes: none with NUL."""
    return [text for text in dict.fromkeys(texts) if "\x00" not in text]


def find(run_ids: Iterable[str], keys: Iterable[str]) -> list[StoredCurve]:
    """What there is of these metrics of these runs, by run and key. Reads no points."""
    return stored_curves(readable(run_ids), readable(keys))


def curves(
    run_ids: Iterable[str],
    keys: Iterable[str],
    *,
    width: int,
    from_step: int | None = None,
    to_step: int | None = None,
) -> list[Curve]:
    """The curves that the runs have of ``keys``, by run and key, between the steps (inclusive), for
    a chart of ``width`` pixels: see read."""
    return read(find(run_ids, keys), width=width, from_step=from_step, to_step=to_step)


def read(
    stored: list[StoredCurve],
    *,
    width: int,
    from_step: int | None = None,
    to_step: int | None = None,
    known: Mapping[tuple[str, str], Known] | None = None,
) -> list[Curve]:
    """``stored`` between the steps, each as points if they are few, otherwise as at most ``width``
    buckets, but for curves whose steps are unevenly spaced. Of those in ``known``, by (run, key),
    what a chart has not got yet. All together take a few queries."""
    low = MIN_BIGINT if from_step is None else max(MIN_BIGINT, from_step)
    high = MAX_BIGINT if to_step is None else min(MAX_BIGINT, to_step)
    limit = exact_points(len(stored))
    plans = [
        _Plan.of(row, low, high, width, limit, (known or {}).get((row.run_id, row.key)))
        for row in stored
    ]
    _read_points([plan for plan in plans if plan.may_be_exact], limit=limit)
    rest = [plan for plan in plans if plan.data is None]
    uneven = [plan for plan in rest if plan.is_uneven]
    for plan in uneven:
        plan.data, plan.shift = _by_time(plan, width), None
    _read_buckets([plan for plan in rest if not plan.is_uneven], width)
    return [plan.curve() for plan in plans]


def exact_points(curves: int) -> int:
    """Up to how many points each of so many curves is exact."""
    return min(EXACT_POINTS, max(FEWEST_EXACT_POINTS, EXACT_POINTS_IN_ALL // max(1, curves)))


@dataclass(slots=True)
class _Plan:
    """How to read a curve, and what was read."""

    row: StoredCurve
    low: int
    high: int
    shift: int | None  # of the buckets wanted
    stored_shift: int | None  # of the stored buckets to make them of; None: of points
    may_be_exact: bool
    is_continued: bool = False
    data: Points | Buckets | None = None

    @classmethod
    def of(
        cls, row: StoredCurve, low: int, high: int, width: int, limit: int, known: Known | None
    ) -> _Plan:
        low, high = max(low, row.first_step), min(high, row.last_step)
        if known is not None:
            continued = cls._continued(row, low, high, known, limit)
            if continued is not None:
                return continued
        steps = max(1, high - low + 1)
        share = steps / max(1, row.last_step - row.first_step + 1)
        may_be_exact = row.count * share <= 2 * limit or row.bucket_shift is None
        shift, stored_shift = _wanted_shift(steps, width), None
        if row.bucket_shift is not None:
            enough = [
                size
                for size in (row.bucket_shift + more for more in (0, *COARSER))
                if steps >> size >= width // PIXELS_PER_BUCKET
            ]
            if enough:
                stored_shift = enough[-1]
                shift = max(shift, stored_shift)
        return cls(row, low, high, shift, stored_shift, may_be_exact)

    @classmethod
    def _continued(
        cls, row: StoredCurve, low: int, high: int, known: Known, limit: int
    ) -> _Plan | None:
        """None if the curve has to be read anew: it is no longer exact, or it was rewound."""
        if known.step > row.last_step:
            return None
        if known.shift is None:
            if row.count > limit:
                return None
            return cls(row, max(low, known.step), high, None, None, True, is_continued=True)
        low = max(low, known.step >> known.shift << known.shift)
        stored = (
            [
                size
                for size in (row.bucket_shift + more for more in (0, *COARSER))
                if size <= known.shift
            ]
            if row.bucket_shift is not None
            else []
        )
        return cls(
            row, low, high, known.shift, stored[-1] if stored else None, False, is_continued=True
        )

    @property
    def is_uneven(self) -> bool:
        """Its points are in no buckets, such as those of a client that reports no step."""
        return self.row.count - self.row.bucketed_count > POINTS_READ

    @property
    def below(self) -> int:
        """Where the stored buckets end."""
        return MIN_BIGINT if self.row.bucketed_below is None else self.row.bucketed_below

    def curve(self) -> Curve:
        row = self.row
        data = self.data or Points(EMPTY, EMPTY, NO_VALUES)
        return Curve(
            row.run_id,
            row.key,
            row.count,
            row.last_step,
            data,
            self.shift if isinstance(data, Buckets) else None,
            self.is_continued,
        )


def _wanted_shift(steps: int, width: int) -> int:
    """The least at which ``steps`` fill no more than ``width`` buckets."""
    return min(WIDEST_SHIFT, max(0, (-(-steps // width) - 1).bit_length()))


def _read_points(plans: list[_Plan], *, limit: int) -> None:
    """Sets the data of the plans whose points are at most ``limit``."""
    spans = [Span(plan.row.id, plan.low, plan.high) for plan in plans]
    columns = point_columns(spans, limit=limit + 1)
    for plan in plans:
        steps, times, values = columns.get(plan.row.id, (EMPTY, EMPTY, NO_VALUES))
        if len(steps) <= limit:
            plan.data = Points(steps, times, values)


def _read_buckets(plans: list[_Plan], width: int) -> None:
    spans, tails = [], []
    for plan in plans:
        tail = plan.low if plan.stored_shift is None else max(plan.low, plan.below)
        if plan.stored_shift is not None and plan.low < plan.below:
            high = min(plan.high, plan.below - 1)
            spans.append(Span(plan.row.id, plan.low, high, plan.stored_shift))
        if tail <= plan.high:
            tails.append(Span(plan.row.id, tail, plan.high))
    stored = bucket_columns(spans)
    points = point_columns(tails, limit=POINTS_READ + 1)
    for plan in plans:
        parts = []
        if plan.row.id in stored:
            parts.append(Buckets(*stored[plan.row.id]))
        if plan.row.id in points:
            steps, times, values = points[plan.row.id]
            if len(steps) > POINTS_READ:  # far more than the spacing of its steps suggests
                plan.data, plan.shift = _by_time(plan, width), None
                continue
            parts.append(_single(steps, times, values))
        plan.data = _grouped(_joined(parts), plan.shift or 0)


def _by_time(plan: _Plan, width: int) -> Buckets | Points:
    """The curve in equal spans of time: its points are too many, and in no buckets."""
    [series] = reading.series(
        plan.row.run_id,
        [plan.row.key],
        max_points=width,
        from_step=plan.low,
        to_step=plan.high,
        by_time=True,
    )
    points, buckets = series.points, series.buckets
    if not buckets:
        return Points(
            np.array([point.step for point in points], dtype=np.int64),
            np.array([point.timestamp_ms for point in points], dtype=np.int64),
            np.array([point.value for point in points], dtype=np.float64),
        )

    def integers(name: str, otherwise: str = "") -> Numbers:
        values = [getattr(bucket, name) for bucket in buckets]
        if otherwise:
            values = [
                getattr(bucket, otherwise) if value is None else value
                for bucket, value in zip(buckets, values, strict=True)
            ]
        return np.array(values, dtype=np.int64)

    def doubles(name: str) -> Numbers:
        return np.array([getattr(bucket, name) for bucket in buckets], dtype=np.float64)

    return Buckets(
        integers("count"),
        doubles("minimum"),
        integers("minimum_step", "first_step"),
        doubles("maximum"),
        integers("maximum_step", "first_step"),
        integers("first_step"),
        integers("first_timestamp_ms"),
        integers("last_step"),
        integers("last_timestamp_ms"),
        doubles("last"),
    )


def _single(steps: Numbers, times: Numbers, values: Numbers) -> Buckets:
    """Buckets of one point each."""
    ones = np.ones(len(steps), dtype=np.int64)
    return Buckets(
        ones,
        values,
        steps,
        values,
        steps,
        first_step=steps,
        first_ms=times,
        step=steps,
        ms=times,
        value=values,
    )


def _columns(buckets: Buckets) -> tuple[Numbers, ...]:
    return tuple(getattr(buckets, name) for name in Buckets.__slots__)


def _joined(parts: list[Buckets]) -> Buckets:
    if not parts:
        return _single(EMPTY, EMPTY, NO_VALUES)
    if len(parts) == 1:
        return parts[0]
    columns = zip(*(_columns(part) for part in parts), strict=True)
    return Buckets(*(np.concatenate(column) for column in columns))


def _grouped(rows: Buckets, shift: int) -> Buckets:
    """One bucket for each multiple of ``2 ** shift`` steps that has any."""
    if len(rows.count) == 0:
        return rows
    number = rows.first_step >> shift
    is_first = np.concatenate(([True], number[1:] != number[:-1]))
    if is_first.all():
        return rows
    starts = np.flatnonzero(is_first)
    ends = np.append(starts[1:], len(number)) - 1
    group = np.cumsum(is_first) - 1
    minimum = np.fmin.reduceat(rows.minimum, starts)
    maximum = np.fmax.reduceat(rows.maximum, starts)
    return Buckets(
        count=np.add.reduceat(rows.count, starts),
        minimum=minimum,
        minimum_step=_steps_where(rows.minimum == minimum[group], group, rows.minimum_step, starts),
        maximum=maximum,
        maximum_step=_steps_where(rows.maximum == maximum[group], group, rows.maximum_step, starts),
        first_step=rows.first_step[starts],
        first_ms=rows.first_ms[starts],
        step=rows.step[ends],
        ms=rows.ms[ends],
        value=rows.value[ends],
    )


def _steps_where(is_it: Numbers, group: Numbers, steps: Numbers, starts: Numbers) -> Numbers:
    """Of each group the step of the first row where ``is_it``; of a group without one, which has
    only NaN, its first."""
    places = starts.copy()
    rows = np.flatnonzero(is_it)[::-1]  # the first one is assigned last
    places[group[rows]] = rows
    return steps[places]
