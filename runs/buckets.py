"""Summing up a series' points ahead of their readers.

A short series is read as it is. Once WANTED_FROM of its points are in no bucket, they are summed up
in buckets of 2 ** shift steps, which hold some 64 points each, and in coarser ones of 8, 64 and
512 times as many steps. ``bucketed_below`` moves on; a point that comes late, below it, is added to
its buckets in the very statement that stores it (runs/queries.py). So a chart of any length is read
from a few thousand rows at most, and what it shows is exact.
"""

from __future__ import annotations

import math

from django.db import transaction
from django.db.models import Min

from runs import queries
from runs.models import MetricPoint, MetricSeries

WANTED_FROM = 1024  # points; below that, reading them is as quick
POINTS_A_BUCKET = 64
COARSER = (3, 6, 9)  # added to a series' shift
MAX_SHIFT = 62 - COARSER[-1]


def extend(series_id: int) -> None:
    """Sum up what is in no bucket yet. Of a series that is gone, nothing."""
    with transaction.atomic():
        # Every writer locks the row before it stores points: with it locked, all are visible.
        series = MetricSeries.objects.select_for_update(no_key=True).filter(pk=series_id).first()
        if series is not None and series.last_step is not None:
            shift = series.bucket_shift
            queries.extend_buckets(series_id, _shift_for(series) if shift is None else shift)


def _shift_for(series: MetricSeries) -> int:
    """Such that a bucket holds POINTS_A_BUCKET points, as far as they have come evenly."""
    assert series.last_step is not None
    points = MetricPoint.objects.filter(series_id=series.pk)
    first_step: int = points.aggregate(first=Min("step"))["first"]
    steps_a_point = (series.last_step - first_step + 1) / series.count
    return min(MAX_SHIFT, max(0, round(math.log2(POINTS_A_BUCKET * steps_a_point))))
