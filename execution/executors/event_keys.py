"""Whose the metrics in TensorBoard's event files are.

A key belongs to the folder that had it first: the same tag in another folder gets a name of its
own. And it is read from event files only while nobody else (metrics.jsonl, REST, MLflow) reports
it in the same attempt. That is seen from the series itself: it has points that were not read here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import count, groupby
from pathlib import PurePosixPath

import numpy as np
from django.db.models import Count, F, Q, QuerySet

from execution.executor_state import AttemptNotes, EventSeriesNote
from metrics import recording
from metrics.models import MetricPoint, MetricSeries, ReplayedPoint
from metrics.points import Point, Points
from runs.models import Run


class EventKeys:
    """The keys of one attempt's event files. Use with the run's row locked, and ``save`` it."""

    def __init__(self, run: Run, notes: AttemptNotes) -> None:
        self.run = run
        self._notes = notes
        self._known: dict[str, EventSeriesNote] = {
            key: note.copy() for key, note in notes.get("event_series", {}).items()
        }
        # Earlier versions noted which keys of the run are read from event files, and from none.
        is_earlier = "event_files" in notes and "event_series" not in notes
        self._earlier: dict[str, bool] = (
            run.executor_state.get("event_keys", {}) if is_earlier else {}
        )

    def save(self) -> None:
        if self._known:
            self._notes["event_series"] = self._known

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def name(self, key: str, folder: str) -> str:
        """The key of what the files in ``folder`` call ``key``."""
        return next(
            name
            for name in self._names(key, folder)
            if name not in self._known or self._known[name]["folder"] == folder
        )

    def _names(self, key: str, folder: str) -> Iterator[str]:
        yield key
        owner = self._known[key]["folder"]
        inside = os.path.relpath(folder, os.path.commonpath([owner, folder]))
        place = inside if inside != "." else PurePosixPath(folder).name or "main"
        yield f"{place}/{key}"
        yield from (f"{place}_{number}/{key}" for number in count(2))

    def claim(self, keys: Iterable[str], folder: str) -> None:
        """Note that the files in ``folder`` have these keys, and leave to others what they report:
        call before the files' new points are stored."""
        new = [key for key in keys if key not in self._known]
        rows = {row.key: row for row in self.run.series.filter(key__in=new)}
        replayed = set(
            ReplayedPoint.objects.filter(series__in=rows.values()).values_list("series", flat=True)
        )
        for key in new:
            row = rows.get(key)
            self._known[key] = {"folder": folder, "count": 0 if row is None else row.count}
            if self._earlier.get(key):
                continue
            if row is not None and (_has_grown(row) or row.pk in replayed):
                self._known[key]["steps"] = []

    def own(self, *, folder: str | None = None) -> list[str]:
        """The keys that nobody else reports: those of ``folder``, or all."""
        return [
            key
            for key, note in self._known.items()
            if "steps" not in note and folder in (None, note["folder"])
        ]

    def give_way(self, keys: Collection[str]) -> None:
        """Leave those of ``keys`` to others that they have begun to report."""
        own = set(keys).intersection(self.own())
        for row in self.run.series.filter(key__in=own):
            if row.count != self._known[row.key]["count"]:
                self._known[row.key]["steps"] = []
                doubled = list(_doubled(row))
                recording.delete_points(self.run, Points.of(doubled))

    def note_counts(self, keys: Iterable[str]) -> None:
        """Call after points of ``keys`` were stored."""
        for row in self.run.series.filter(key__in=list(keys)):
            self._known[row.key]["count"] = row.count

    def without_taken(self, points: Sequence[Point]) -> list[Point]:
        """Those ``points`` of metrics.jsonl whose steps no event file has reported before. From now
        on their metrics are not read from event files."""
        shared = {point.key for point in points if point.key in self._known}
        if not shared:
            return list(points)
        self.give_way(shared)
        for row in self.run.series.filter(key__in=shared.intersection(self.own())):
            steps = _points_of_attempt(row).values_list("step", flat=True)
            self._known[row.key]["steps"] = _ranges(sorted(set(steps)))
        taken = {
            key: [range(first, last + 1, by) for first, last, by in self._known[key]["steps"]]
            for key in shared.difference(self.own())
        }
        return [
            point
            for point in points
            if not any(point.step in steps for steps in taken.get(point.key, ()))
        ]

    def stored(self, keys: Collection[str], first_step: int) -> Points:
        """What this attempt has stored of these keys, from ``first_step`` on."""
        rows = MetricPoint.objects.filter(_of_attempt("series__"), series__run=self.run)
        rows = rows.filter(series__key__in=keys, step__gte=first_step)
        columns = ("series__key", "step", "value", "timestamp_ms")
        return Points.of(Point(*row) for row in rows.values_list(*columns))


def _has_grown(row: MetricSeries) -> bool:
    """Whether the attempt has reported later steps than those before it."""
    if row.last_step is None:
        return False
    return row.rewound_to is None or row.last_step > row.rewound_to


def _of_attempt(series: str = "") -> Q:
    return Q(**{f"{series}rewound_to": None}) | Q(step__gt=F(f"{series}rewound_to"))


def _points_of_attempt(row: MetricSeries) -> QuerySet[MetricPoint]:
    """Those beyond the steps that earlier attempts had reached."""
    points = MetricPoint.objects.filter(series=row)
    return points if row.rewound_to is None else points.filter(step__gt=row.rewound_to)


def _doubled(row: MetricSeries) -> Iterator[Point]:
    """The points that were read from an event file, in single precision, before somebody else
    reported the same values: at most one a step."""
    points = _points_of_attempt(row)
    steps = points.values("step").annotate(values=Count("value")).filter(values__gt=1)
    rows = points.filter(step__in=steps.values("step")).order_by("step", "timestamp_ms", "value")
    for step, group in groupby(rows.values_list("step", "timestamp_ms", "value"), lambda r: r[0]):
        pairs = [(timestamp_ms, value) for _step, timestamp_ms, value in group]
        place = _rounded(pairs)
        if place is not None:
            timestamp_ms, value = pairs[place]
            yield Point(row.key, step, value, timestamp_ms)


def _rounded(points: list[tuple[int, float]]) -> int | None:
    """The index of a point whose value is that of another one in single precision."""
    with np.errstate(over="ignore"):
        singles = [float(np.float32(value)) for _at, value in points]
    places = [
        place
        for place, (_at, value) in enumerate(points)
        for other, single in enumerate(singles)
        if other != place and (single == value or (math.isnan(single) and math.isnan(value)))
    ]
    return places[0] if places else None


def _ranges(steps: Sequence[int]) -> list[list[int]]:
    """Ascending ``steps`` as ranges: the first, the last, and the distance."""
    ranges: list[list[int]] = []
    for step in steps:
        if ranges and ranges[-1][0] == ranges[-1][1]:
            ranges[-1][1:] = [step, step - ranges[-1][0]]
        elif ranges and step - ranges[-1][1] == ranges[-1][2]:
            ranges[-1][1] = step
        else:
            ranges.append([step, step, 1])
    return ranges
