"""SQL that sums up the accounts of runs: one statement a report, whatever it is grouped by."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Any, Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.database import Statement
from goodput.parts import HELD, Part
from projects.sight import Sight
from runs.status import RunStatus


class Grouping(models.TextChoices):
    """``owner``: who answers for the project; ``user``: who has created the run."""

    PROJECT = "project", _("Project")
    OWNER = "owner", _("Owner")
    USER = "user", _("Who")
    POOL = "pool", _("Pool")
    MONTH = "month", _("Month")
    DAY = "day", _("Day")
    RUN = "run", _("Run")


# Columns that are grouped as they are: to compute a key of each row would cost as much as the sums.
_KEYS: Final = {
    Grouping.PROJECT: "project_id",
    Grouping.OWNER: "project_id",
    Grouping.USER: "created_by_id",
    Grouping.POOL: "pool",
    Grouping.MONTH: "day",
    Grouping.DAY: "day",
    Grouping.RUN: "run_id",
}
# On which of its days a run is counted: once in all, and once in each group.
_FIRST: Final = "is_first OR day = %(first_day)s::date"
_COUNTED: Final = dict.fromkeys(Grouping, _FIRST) | {
    Grouping.MONTH: f"{_FIRST} OR extract(day FROM day) = 1",
    Grouping.DAY: "true",
}
_SUMS: Final = ", ".join(f"sum({name})::bigint" for name in (*Part.values, "measured", "idle"))
_WALL: Final = " + ".join(f"sum({part.value})" for part in Part)
_ASKED: Final = """
    day >= %(first_day)s::date AND day < %(end_day)s::date
    AND project_id = coalesce(%(project_id)s::text, project_id)
"""
_VISIBLE: Final = "AND project_id = ANY(%(visible)s::text[])"


@cache
def _accounts(by: Grouping, *, is_limited: bool) -> Statement:
    """Grouped by pool, too, as each has a price, and by the number of GPUs, to multiply by it a few
    sums instead of each row. ``is_limited``: to the projects that a reader sees."""
    return Statement(f"""
SELECT
    {_KEYS[by]} AS key, pool,
    gpu_count, count(*) FILTER (WHERE {_FIRST}), count(*) FILTER (WHERE {_COUNTED[by]}), {_SUMS}
FROM goodput_dayaccount
WHERE {_ASKED} {_VISIBLE if is_limited else ""}
GROUP BY key, pool, gpu_count
ORDER BY ({_WALL}) * gpu_count DESC, ({_WALL}) DESC
LIMIT %(limit)s::bigint
""")  # noqa: S608  composed of constants


# Runs that have never been claimed only wait. For how long changes all the time, so nothing is
# written down of them. Each status has an index of its own.
_NEVER_CLAIMED: Final = " UNION ALL ".join(
    f"""
    SELECT
        id, project_id, created_by_id, coalesce(nullif(pool, ''), gpu_type) AS pool, gpu_count,
        queued_at
    FROM runs_run
    WHERE status = '{status.value}' AND held_seconds IS NULL AND recipe_id IS NOT NULL
        AND NOT is_hidden
    """  # noqa: S608  composed of constants
    for status in (RunStatus.QUEUED, RunStatus.RUNNING)
)


@cache
def _waiting(by: Grouping, *, is_limited: bool) -> Statement:
    return Statement(f"""
WITH account AS (
    SELECT
        id AS run_id, midnight::date AS day, project_id, created_by_id, pool, gpu_count,
        midnight <= queued_at AT TIME ZONE 'UTC' AS is_first,
        (1e6 * extract(epoch FROM
            least(midnight + interval '1 day', now() AT TIME ZONE 'UTC')
            - greatest(midnight, queued_at AT TIME ZONE 'UTC')
        ))::bigint AS microseconds
    FROM ({_NEVER_CLAIMED}) AS run
        CROSS JOIN LATERAL generate_series(
            date_trunc('day', queued_at AT TIME ZONE 'UTC'), now() AT TIME ZONE 'UTC',
            interval '1 day'
        ) AS midnight
)
SELECT
    {_KEYS[by]} AS key, pool,
    gpu_count, count(*) FILTER (WHERE {_FIRST}), count(*) FILTER (WHERE {_COUNTED[by]}),
    sum(microseconds)::bigint
FROM account
WHERE {_ASKED} {_VISIBLE if is_limited else ""}
GROUP BY key, pool, gpu_count
ORDER BY sum(microseconds) * gpu_count DESC, sum(microseconds) DESC
LIMIT %(limit)s::bigint
""")  # noqa: S608  composed of constants


@dataclass(slots=True)
class Sums:
    """Of a group. Times are in microseconds; those of GPUs count each GPU.

    ``run_count``: how many runs are in it; ``new_count``: how many are in no group of earlier days.
    """

    new_count: int = 0
    run_count: int = 0
    parts: Counter[Part] = field(default_factory=Counter)
    gpu_parts: Counter[Part] = field(default_factory=Counter)
    measured_gpu: int = 0  # held by runs whose utilization was measured
    idle_gpu: int = 0  # how much of that was idle
    by_pool: Counter[str] = field(default_factory=Counter)  # held, of GPU time

    def add(self, other: Sums) -> None:
        self.new_count += other.new_count
        self.run_count += other.run_count
        for mine, its in (
            (self.parts, other.parts),
            (self.gpu_parts, other.gpu_parts),
            (self.by_pool, other.by_pool),
        ):
            mine.update(its)  # type: ignore[arg-type]  # each has keys of its own
        self.measured_gpu += other.measured_gpu
        self.idle_gpu += other.idle_gpu


def grouped(
    by: Grouping,
    *,
    first_day: date,
    end_day: date,
    project_id: str | None,
    sight: Sight,
    limit: int | None = None,
) -> dict[str, Sums]:
    """The sums of the days from ``first_day`` to before ``end_day``, by key; "" is none.
    ``limit``: of runs, of which there may be very many, only the largest."""
    asked: dict[str, Any] = {
        "first_day": first_day,
        "end_day": end_day,
        "project_id": project_id,
        "limit": limit,
    }
    if sight.is_limited:
        asked["visible"] = sight.ids
    found: dict[str, Sums] = {}
    for key, *row in _accounts(by, is_limited=sight.is_limited).rows(**asked):
        found.setdefault(_text(by, key), Sums()).add(_accounted(*row))
    waiting_runs = _waiting(by, is_limited=sight.is_limited).rows(**asked)
    for key, _pool, gpus, new_count, run_count, waiting in waiting_runs:
        waited, waited_gpu = (Counter({Part.WAITING: waiting * times}) for times in (1, gpus))
        found.setdefault(_text(by, key), Sums()).add(Sums(new_count, run_count, waited, waited_gpu))
    return found


def _text(by: Grouping, key: Any) -> str:
    if by is Grouping.MONTH:
        return f"{key:%Y-%m}"
    return "" if key is None else str(key)


def _accounted(pool: str, gpus: int, new_count: int, run_count: int, *times: int) -> Sums:
    *of_parts, measured, idle = times
    parts = Counter(dict(zip(Part, of_parts, strict=True)))
    gpu_parts = Counter({part: time * gpus for part, time in parts.items()})
    held = Counter({pool: sum(gpu_parts[part] for part in HELD)})
    return Sums(new_count, run_count, parts, gpu_parts, measured * gpus, idle * gpus, held)
