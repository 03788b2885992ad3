"""Summing up a series' points ahead of their readers.

A short series is read as it is. Once WANTED_FROM of its points are in no bucket, they are summed up
in buckets of 2 ** shift steps, which hold some 64 points each, and in coarser ones of 8, 64 and
512 times as many steps. ``bucketed_below`` moves on; a point that comes late, below it, is added to
its buckets in the very statement that stores it (runs/point_queries.py). So a chart of any length
is read from a few thousand rows, and what it shows is exact.

That holds where steps come about as evenly as the first thousand points did, by which the shift is
chosen. Points that are all of one step, as of clients that name none, fill no bucket, and after a
step far off all others most lie in one: such a chart is read from its points.
"""

from __future__ import annotations

from django.db import transaction

from runs import bucket_queries

WANTED_FROM = 1024  # points; below that, reading them is as quick
POINTS_A_BUCKET = 64
MAX_SHIFT = 62 - bucket_queries.COARSER[-1]


def extend(run_id: str, series_ids: list[int]) -> None:
    """Sum up what is in no bucket yet of these series of the run."""
    with transaction.atomic():
        # Every writer locks the run before it stores points: with it locked, all are visible.
        bucket_queries.lock_run(run_id)
        bucket_queries.extend_buckets(
            series_ids, points_a_bucket=POINTS_A_BUCKET, max_shift=MAX_SHIFT
        )
