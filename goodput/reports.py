"""Where GPU-hours went: the sums of runs by project, owner, pool, month, …"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final

from django.contrib.auth.models import User
from django.db.models import Min
from django.utils import timezone

from goodput.models import DayAccount
from goodput.parts import HELD, Part
from goodput.report_queries import Grouping, Sums, grouped
from projects.models import Project
from projects.sight import Sight
from runs.models import GpuPool, Run

MICROSECONDS_PER_HOUR: Final = 3_600_000_000
DEFAULT_DAYS: Final = 30
CENT: Final = Decimal("0.01")
CHRONOLOGICAL: Final = frozenset({Grouping.MONTH, Grouping.DAY})


@dataclass(frozen=True, slots=True)
class Group:
    """The sums of a group of runs. ``key``: what it is known by; "" if by nothing.

    ``prices``: of a GPU-hour, by pool. ``project_id``: of a run.
    """

    key: str
    sums: Sums
    prices: Mapping[str, Decimal]
    name: str = ""
    project_id: str | None = None

    @property
    def run_count(self) -> int:
        return self.sums.run_count

    @property
    def wall(self) -> int:
        """In microseconds."""
        return self.sums.parts.total()

    def seconds(self, part: Part) -> float:
        return self.sums.parts[part] / 1_000_000

    def gpu_hours_of(self, part: Part) -> float:
        return self.sums.gpu_parts[part] / MICROSECONDS_PER_HOUR

    @property
    def gpu_hours(self) -> float:
        """For how long runs have held GPUs."""
        return sum(self.sums.gpu_parts[part] for part in HELD) / MICROSECONDS_PER_HOUR

    @property
    def has_gpus(self) -> bool:
        return any(self.sums.gpu_parts.values())

    @property
    def weights(self) -> Counter[Part]:
        """What shares are of: GPU time, or wall time where no run has a GPU."""
        return self.sums.gpu_parts if self.has_gpus else self.sums.parts

    def share(self, part: Part) -> float | None:
        """Of the whole, from 0 to 1; None if there is nothing."""
        total = self.weights.total()
        return self.weights[part] / total if total else None

    @property
    def goodput(self) -> float | None:
        """Kept training ÷ wall time, each run weighted by its GPUs; None if there is nothing."""
        return self.share(Part.TRAINING)

    @property
    def idle_share(self) -> float | None:
        """Of the GPU time whose utilization was measured; None: it never was."""
        measured = self.sums.measured_gpu
        return min(1.0, self.sums.idle_gpu / measured) if measured else None

    @property
    def idle_gpu_hours(self) -> float | None:
        measured = self.sums.measured_gpu
        return self.sums.idle_gpu / MICROSECONDS_PER_HOUR if measured else None

    @property
    def cost(self) -> Decimal | None:
        """Of the GPU-hours that have a price, in cents; None if none has."""
        costs = [
            Decimal(held) / MICROSECONDS_PER_HOUR * self.prices[pool]
            for pool, held in self.sums.by_pool.items()
            if held and pool in self.prices
        ]
        return sum(costs, Decimal(0)).quantize(CENT) if costs else None

    @property
    def unpriced_gpu_hours(self) -> float:
        held = self.sums.by_pool.items()
        return sum(time for pool, time in held if pool not in self.prices) / MICROSECONDS_PER_HOUR


@dataclass(frozen=True, slots=True)
class Report:
    """``groups``: the largest first, or by time; ``total``: of all, also those that are not here.

    ``at``: up to when runs that go on are counted; ``pending``: whether runs that are over are not
    counted yet.
    """

    by: Grouping
    first_day: date
    end_day: date
    groups: list[Group]
    group_count: int
    total: Group
    at: datetime
    pending: bool

    @property
    def last_day(self) -> date:
        return self.end_day - timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Days:
    """Whole days in UTC: from ``first`` to before ``end``."""

    first: date
    end: date

    @classmethod
    def containing(cls, start: datetime | None, end: datetime | None) -> Days:
        """Those of which a part is between the times; by default the last 30, today included."""
        last = timezone.now() if end is None else end - timedelta(microseconds=1)
        # The calendar ends one day after the last that can be counted.
        last_day = min(last.astimezone(UTC).date(), date.max - timedelta(days=1))
        if start is None:
            first = last_day - timedelta(days=min(DEFAULT_DAYS, last_day.toordinal()) - 1)
        else:
            first = start.astimezone(UTC).date()
        return cls(first, last_day + timedelta(days=1))


def report(
    by: Grouping,
    days: Days,
    *,
    sight: Sight,
    project_id: str | None = None,
    limit: int | None = None,
) -> Report:
    """Of the runs that ``sight`` tells, all or those of one project."""
    sums = _sums(by, days, sight, project_id, limit)
    every = _sums(Grouping.POOL, days, sight, project_id) if by is Grouping.RUN else sums
    total = _total(every.values())
    if by is Grouping.OWNER:
        sums = _by_owner(sums)
    keys = sorted(sums, key=lambda key: _place(by, key, sums[key]))
    prices = _prices()
    names = _names(by, keys[:limit])
    return Report(
        by,
        days.first,
        days.end,
        groups=[
            Group(key, sums[key], prices, *names.get(key, (key, None))) for key in keys[:limit]
        ],
        group_count=total.run_count if by is Grouping.RUN else len(keys),
        total=Group("", total, prices),
        at=_counted_until(),
        pending=Run.objects.listed().filter(is_accounted=False, finished_at__isnull=False).exists(),
    )


def _sums(
    by: Grouping, days: Days, sight: Sight, project_id: str | None, limit: int | None = None
) -> dict[str, Sums]:
    return grouped(
        by,
        first_day=days.first,
        end_day=days.end,
        project_id=project_id,
        sight=sight,
        limit=limit if by is Grouping.RUN else None,
    )


def _place(by: Grouping, key: str, sums: Sums) -> tuple[int, int, str]:
    """By time, or the largest first."""
    if by in CHRONOLOGICAL:
        return 0, 0, key
    return -sums.gpu_parts.total(), -sums.parts.total(), key


def _total(of_groups: Iterable[Sums]) -> Sums:
    total = Sums()
    for sums in of_groups:
        total.add(sums)
    total.run_count = total.new_count  # a run of two months is one run
    return total


def _by_owner(of_projects: Mapping[str, Sums]) -> dict[str, Sums]:
    """By who answers for the projects now."""
    owners = dict(Project.objects.filter(pk__in=of_projects).values_list("pk", "owner"))
    found: dict[str, Sums] = {}
    for project_id, sums in of_projects.items():
        found.setdefault(owners.get(project_id, ""), Sums()).add(sums)
    return found


def _prices() -> dict[str, Decimal]:
    """Pool → its price per GPU-hour, of those that have one."""
    pools = GpuPool.objects.exclude(price_per_gpu_hour=None)
    return {
        pool: price
        for pool, price in pools.values_list("name", "price_per_gpu_hour")
        if price is not None
    }


def _counted_until() -> datetime:
    """When the run that goes on and was counted least lately was; now, if none goes on."""
    now = timezone.now()
    today = DayAccount.objects.filter(day=now.astimezone(UTC).date(), run__is_accounted=False)
    oldest: datetime | None = today.aggregate(at=Min("updated_at"))["at"]
    return oldest or now


Name = tuple[str, str | None]  # and of a run, its project


def _names(by: Grouping, keys: Sequence[str]) -> dict[str, Name]:
    known = [key for key in keys if key]
    if by is Grouping.RUN:
        runs = Run.objects.filter(pk__in=known).values_list("pk", "name", "project_id")
        return {pk: (name, project_id) for pk, name, project_id in runs}
    if by is Grouping.PROJECT:
        projects = Project.objects.filter(pk__in=known).values_list("pk", "name")
        return {pk: (name, None) for pk, name in projects}
    if by is Grouping.USER:
        users = User.objects.filter(pk__in=map(int, known)).values_list("pk", "username")
        return {str(pk): (name, None) for pk, name in users}
    return {}
