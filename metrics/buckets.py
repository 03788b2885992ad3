"""Pre-aggregate a series' points.

A short series is read from its points. Once MIN_UNBUCKETED of its points are in no bucket, they are
aggregated into buckets of 2 ** shift steps, which hold about 64 points each, and into coarser ones
of 8, 64 and 512 times as many steps. ``bucketed_below`` then advances; a late point, below it, is
added to its buckets by the statement that stores it (metrics/point_queries.py). So a chart of any
length is read from a few thousand rows and is exact.

This requires steps about as evenly spaced as those of the first thousand points, which determine
the shift. Points of a single step, as from clients that report no step, fill no bucket, and with an
outlier step most points are in one bucket: such charts are read from the points.
"""

from __future__ import annotations

from django.db import transaction

from metrics import bucket_queries

MIN_UNBUCKETED = 1024  # points; fewer are read just as fast without buckets
POINTS_PER_BUCKET = 64
MAX_SHIFT = 62 - bucket_queries.COARSER[-1]


def extend(run_id: str, series_ids: list[int]) -> None:
    """Aggregate the points of these series of the run that are in no bucket yet."""
    with transaction.atomic():
        # Writers lock the run before they store points: once it is locked, all are visible.
        bucket_queries.lock_run(run_id)
        bucket_queries.extend_buckets(
            series_ids, points_per_bucket=POINTS_PER_BUCKET, max_shift=MAX_SHIFT
        )
