"""SQL that looks up a few points of a run's metrics, which the ORM cannot do for many steps at
once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.database import Bigints, Statement

FIRST: Final = Statement("""
SELECT step, timestamp_ms
FROM metrics_metricpoint
WHERE series_id = %(series_id)s::bigint AND step > %(after)s::bigint
ORDER BY step, timestamp_ms
LIMIT 1
""")


def first_point(series_id: int, *, after: int) -> tuple[int, int] | None:
    """The first (step, Unix milliseconds) of a series after a step."""
    return FIRST.row(series_id=series_id, after=after)


AROUND: Final = Statement("""
SELECT asked.at, before.step, before.timestamp_ms, after.step, after.timestamp_ms
FROM unnest(%(steps)s::bigint[]) AS asked (at)
    CROSS JOIN LATERAL (
        SELECT step, timestamp_ms
        FROM metrics_metricpoint
        WHERE series_id = %(series_id)s::bigint
            AND step >= %(first)s::bigint AND step <= asked.at
        ORDER BY step DESC, timestamp_ms DESC
        LIMIT 1
    ) AS before
    LEFT JOIN LATERAL (
        SELECT step, timestamp_ms
        FROM metrics_metricpoint
        WHERE series_id = %(series_id)s::bigint AND step > asked.at
        ORDER BY step, timestamp_ms
        LIMIT 1
    ) AS after ON true
ORDER BY asked.at
""")


def points_around(
    series_id: int, steps: Sequence[int], *, first: int
) -> list[tuple[int, int, int, int | None, int | None]]:
    """Of each of ``steps`` that a series had reached: it, and the point (step, Unix milliseconds)
    at or next before it, from ``first`` on, and the one after."""
    if not steps:
        return []
    return AROUND.rows(series_id=series_id, steps=Bigints(steps), first=first)


EVALUATIONS: Final = Statement("""
SELECT step, max(timestamp_ms)
FROM metrics_metricpoint
WHERE series_id = %(series_id)s::bigint AND step >= %(first)s::bigint
GROUP BY step
ORDER BY step DESC
LIMIT %(limit)s::bigint
""")


def newest_points(series_id: int, *, first: int, limit: int) -> list[tuple[int, int]]:
    """The last steps of a series from ``first`` on, the newest first, and when each was reported
    last, in Unix milliseconds."""
    return EVALUATIONS.rows(series_id=series_id, first=first, limit=limit)


UTILIZATION: Final = Statement("""
SELECT avg(
    -- A share of 1, or percent: those of the host are percent, of which 1 is very little.
    CASE WHEN series.is_share AND point.value <= 1 THEN point.value ELSE point.value / 100 END
)
FROM unnest(%(series_ids)s::bigint[], %(last_steps)s::bigint[], %(shares)s::bool[])
        AS series (id, last_step, is_share)
    CROSS JOIN generate_series(1, %(probes)s::bigint) AS probe (number)
    CROSS JOIN LATERAL (
        SELECT value
        FROM metrics_metricpoint
        WHERE series_id = series.id
            AND step <= series.last_step * probe.number / %(probes)s::bigint
        ORDER BY step DESC, timestamp_ms DESC
        LIMIT 1
    ) AS point
WHERE point.value BETWEEN 0 AND 100
""")


def mean_utilization(
    series: Sequence[tuple[int, int]], *, are_shares: bool, probes: int
) -> float | None:
    """The mean of the values of ``series``, (id, last step), at as many steps at equal distances,
    from 0 to 1; None without any. ``are_shares``: values up to 1 are shares, not percent."""
    if not series:
        return None
    row = UTILIZATION.row(
        series_ids=Bigints([pk for pk, _last in series]),
        last_steps=Bigints([last for _pk, last in series]),
        shares=[are_shares] * len(series),
        probes=probes,
    )
    return None if row is None else row[0]
