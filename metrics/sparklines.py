"""The course of metrics in a few dozen columns, for pictures as small as a word.

One statement reads any number of series of any number of runs. A series of more points than
``MAX_POINTS`` is read from its stored buckets (metrics/buckets.py), so one of a million points
costs a few hundred rows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

from core.database import Statement, Texts

COLUMNS: Final = 60
MAX_POINTS: Final = 2048  # more than a series has that is in no buckets


class Column(NamedTuple):
    """Consecutive points drawn as one; ``minimum`` and ``maximum`` are finite."""

    minimum: float
    maximum: float
    last: float


# Of the stored sizes of buckets, the coarsest of which there are enough. Points are grouped by step
# here, so that a thousand are not transferred to draw sixty columns.
ENTRIES: Final = Statement("""
WITH wanted AS (
    SELECT
        series.id, run_id, key, series.bucketed_below, series.last_step,
        (
            SELECT step FROM metrics_metricpoint WHERE series_id = series.id
            ORDER BY step LIMIT 1
        ) AS first_step,
        CASE WHEN series.bucket_shift IS NOT NULL AND series.count > %(max_points)s::bigint THEN
            series.bucket_shift + CASE
                WHEN series.count > 64 * 512 * %(columns)s::bigint THEN 9
                WHEN series.count > 64 * 64 * %(columns)s::bigint THEN 6
                WHEN series.count > 64 * 8 * %(columns)s::bigint THEN 3
                ELSE 0
            END
        END AS shift
    FROM unnest(%(runs)s::text[], %(keys)s::text[]) AS asked (run_id, key)
        JOIN metrics_metricseries AS series USING (run_id, key)
    WHERE series.count > 0
), entry AS (
    SELECT wanted.id, bucket.last_step AS step, last_timestamp_ms AS timestamp_ms,
        minimum, maximum, last_value AS value
    FROM wanted CROSS JOIN LATERAL (
        SELECT bucket.last_step, last_timestamp_ms, minimum, maximum, last_value
        FROM metrics_metricbucket AS bucket
        WHERE series_id = wanted.id AND bucket.shift = wanted.shift
    ) AS bucket
    WHERE wanted.shift IS NOT NULL
    UNION ALL
    SELECT wanted.id, step, timestamp_ms, nullif(value, 'NaN'), nullif(value, 'NaN'), value
    FROM wanted CROSS JOIN LATERAL (
        SELECT step, timestamp_ms, value
        FROM metrics_metricpoint AS point
        WHERE series_id = wanted.id
            AND point.step >= CASE
                WHEN wanted.shift IS NULL THEN wanted.first_step ELSE wanted.bucketed_below
            END
    ) AS point
), placed AS (
    SELECT
        entry.*, run_id, key,
        div(
            (step::numeric - first_step) * %(columns)s::bigint,
            wanted.last_step::numeric - first_step + 1
        )::bigint AS place
    FROM entry JOIN wanted USING (id)
)
SELECT
    run_id, key,
    min(nullif(nullif(minimum, 'Infinity'), '-Infinity')),
    max(nullif(nullif(maximum, 'Infinity'), '-Infinity')),
    (array_agg(value ORDER BY step DESC, timestamp_ms DESC, value DESC))[1]
FROM placed
GROUP BY run_id, key, place
ORDER BY run_id, key, place
""")


def sparklines(
    wanted: Iterable[tuple[str, str]], *, columns: int = COLUMNS
) -> dict[tuple[str, str], list[Column]]:
    """The columns of each series (run ID, key) that has points, oldest step first; at most
    ``columns`` and a few, none where every value is NaN or infinite."""
    pairs = [(run, key) for run, key in dict.fromkeys(wanted) if "\x00" not in run + key]
    if not pairs:
        return {}
    runs, keys = zip(*pairs, strict=True)
    drawn: defaultdict[tuple[str, str], list[Column]] = defaultdict(list)
    rows = ENTRIES.rows(runs=Texts(runs), keys=Texts(keys), columns=columns, max_points=MAX_POINTS)
    for run_id, key, minimum, maximum, last in rows:
        if minimum is not None:
            shown = last if math.isfinite(last) else maximum
            drawn[run_id, key].append(Column(minimum, maximum, shown))
    return dict(drawn)
