"""GPUs that are free now, or will be: pure data, no database."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from heapq import heapify, heappop, heappush
from operator import attrgetter
from typing import Final, NamedTuple

from execution.scheduling.candidate import Candidate

NO_LIMIT: Final = 2**31 - 1
BY_TIME: Final = attrgetter("at")
_numbers = itertools.count()  # of releases that come at the same time
# What a run of unknown length is taken to need from now on, at least. The longer it has run, the
# longer it will: durations of trainings spread over many orders of magnitude.
SHORTEST_GUESS_SECONDS: Final = 60.0


class Release(NamedTuple):
    """``at``: when it is expected, in Unix seconds. ``ends``: when it comes, in a forecast that
    draws it; None: as expected."""

    at: float
    gpus: int
    ends: float | None = None

    @property
    def comes(self) -> float:
        return self.at if self.ends is None else self.ends


class Hold(NamedTuple):
    """What a run holds. ``in_pool``, ``on_host``: of the pool, of the worker's host.
    ``planned_seconds``: how long the whole run takes if it reaches its end; None: unknown."""

    release: Release
    is_evaluation: bool
    in_pool: bool
    on_host: bool
    recipe_id: str = ""
    planned_seconds: float | None = None


@dataclass(slots=True)
class Supply:
    """``capacity``: how many GPUs there are. ``free`` is negative after a pool has shrunk."""

    capacity: int
    free: int
    releases: list[Release] = field(default_factory=list)  # by the time when they are expected
    # The same as a heap by the time when they come, once a forecast asks for it.
    _coming: list[tuple[float, int, Release]] | None = None

    @classmethod
    def of(cls, capacity: int, releases: Iterable[Release]) -> Supply:
        """All but those that will be released are free."""
        listed = sorted(releases, key=BY_TIME)
        return cls(capacity, capacity - sum(release.gpus for release in listed), listed)

    @property
    def used(self) -> int:
        return self.capacity - self.free

    def take(self, release: Release) -> None:
        self.free -= release.gpus
        insort(self.releases, release, key=BY_TIME)
        if self._coming is not None:
            heappush(self._coming, (release.comes, next(_numbers), release))

    def next_release(self) -> float | None:
        """When GPUs become free next; None: all are."""
        coming = self._heap()
        return coming[0][0] if coming else None

    def advance(self, now: float) -> None:
        """Free what has been released by ``now``."""
        coming = self._heap()
        while coming and coming[0][0] <= now:
            _at, _number, release = heappop(coming)
            self.free += release.gpus
            first = bisect_left(self.releases, release.at, key=BY_TIME)
            del self.releases[self.releases.index(release, first)]

    def _heap(self) -> list[tuple[float, int, Release]]:
        if self._coming is None:
            self._coming = [(one.comes, next(_numbers), one) for one in self.releases]
            heapify(self._coming)
        return self._coming

    def time_of(self, count: int, now: float) -> float:
        """When ``count`` will be free, if nobody takes any meanwhile; infinite: never."""
        free, at = self.free, now
        for release in self.releases:
            if free >= count:
                break
            free, at = free + release.gpus, max(now, release.at)
        return at if free >= count else math.inf

    def free_at(self, at: float) -> int:
        """How many will be free then."""
        until = bisect_right(self.releases, at, key=BY_TIME)
        return self.free + sum(release.gpus for release in self.releases[:until])


@dataclass(frozen=True, slots=True)
class Fit:
    """Which candidates can be taken: those that need at most so many GPUs, and hold them for at
    most ``within_seconds`` unless they need no more than the spare ones."""

    training: int = NO_LIMIT
    evaluation: int = NO_LIMIT
    devices: int = NO_LIMIT  # further limit for those that use devices of the worker's host
    within_seconds: float = math.inf
    spare_training: int = NO_LIMIT
    spare_evaluation: int = NO_LIMIT
    spare_devices: int = NO_LIMIT

    def is_within(self, other: Fit) -> bool:
        """Whether the ``other`` allows all that this allows."""
        return all(getattr(self, name) <= getattr(other, name) for name in FIT_FIELDS)

    def allows(self, candidate: Candidate) -> bool:
        most = self.evaluation if candidate.is_evaluation else self.training
        spare = self.spare_evaluation if candidate.is_evaluation else self.spare_training
        if candidate.uses_devices:
            most, spare = min(most, self.devices), min(spare, self.spare_devices)
        if candidate.gpu_count > most:
            return False
        expected = candidate.expected_seconds
        is_short = (
            expected is not None and not candidate.is_guess and expected <= self.within_seconds
        )
        return is_short or math.isinf(self.within_seconds) or candidate.gpu_count <= spare


FIT_FIELDS: Final = tuple(field.name for field in fields(Fit))


@dataclass(slots=True)
class Supplies:
    """The GPUs that the runs of a pool take, as one worker sees them; None: no limit.

    ``pool``: all of them. ``common``: without those kept for evaluations; trainings take from both.
    ``host``: the devices of the worker's host, for runs that use these too.
    """

    pool: Supply | None = None
    common: Supply | None = None
    host: Supply | None = None
    reserve: int = 0

    @property
    def in_evaluations(self) -> int:
        """GPUs that evaluations hold."""
        if self.pool is None or self.common is None:
            return 0
        return self.pool.used - self.common.used

    def capacity(self) -> Fit:
        """Those that can be taken at all, now or later."""
        return Fit(
            training=min(_capacity(self.pool), _capacity(self.common)),
            evaluation=_capacity(self.pool),
            devices=_capacity(self.host),
        )

    def seats(self) -> Fit:
        """The evaluations that the GPUs kept for them are free for."""
        free = min(_free(self.pool), self.reserve - self.in_evaluations)
        return Fit(training=-1, evaluation=free, devices=_free(self.host))

    def fits(self, candidate: Candidate) -> bool:
        return all(supply.free >= candidate.gpu_count for supply in self._of(candidate))

    def may_fit(self, count: int) -> bool:
        """Whether any run of so many GPUs or more could start now."""
        return self.pool is None or self.pool.free >= count

    def add_releases(self, holds: Iterable[Hold]) -> None:
        """What is known of the runs whose GPUs are not free."""
        for hold in holds:
            for held in self._held(hold):
                held.releases.append(hold.release)
        for supply in (self.pool, self.common, self.host):
            if supply is not None:
                supply.releases.sort(key=BY_TIME)

    def release(self, hold: Hold) -> None:
        """Free what the run holds."""
        for supply in self._held(hold):
            supply.free += hold.release.gpus

    def missing(self, candidate: Candidate) -> list[int]:
        """How many GPUs it lacks of each supply that it takes from; not positive: none."""
        return [candidate.gpu_count - supply.free for supply in self._of(candidate)]

    def released(self, candidate: Candidate, hold: Hold) -> list[int]:
        """How many GPUs of each supply that the candidate takes from the run holds."""
        held = {id(supply) for supply in self._held(hold)}
        return [hold.release.gpus * (id(supply) in held) for supply in self._of(candidate)]

    def next_release(self) -> float | None:
        """When GPUs become free next; None: all are."""
        return None if self.pool is None else self.pool.next_release()

    def advance(self, now: float) -> None:
        """Free what has been released by ``now``."""
        for supply in (self.pool, self.common):
            if supply is not None:
                supply.advance(now)

    def take(self, candidate: Candidate, now: float) -> None:
        expected = candidate.expected_seconds
        seconds = SHORTEST_GUESS_SECONDS if expected is None else expected
        ends = None if candidate.real_seconds is None else now + candidate.real_seconds
        for supply in self._of(candidate):
            supply.take(Release(now + seconds, candidate.gpu_count, ends))

    def starts_elsewhere(self, head: Candidate, now: float) -> bool:
        """Whether another worker's host has devices for ``head`` sooner, which does not fit here
        now. Then nothing is held back for it here."""
        return False

    def reserve_for(self, head: Candidate, now: float) -> Reservation:
        """Hold GPUs back for ``head``, which does not fit now."""
        at = max(supply.time_of(head.gpu_count, now) for supply in self._of(head))
        needed = {id(supply) for supply in self._of(head)}

        def spare(supply: Supply | None) -> int:
            if supply is None:
                return NO_LIMIT
            taken = head.gpu_count if id(supply) in needed else 0
            return min(supply.free, supply.free_at(at) - taken)

        return Reservation(
            self, at, pool=spare(self.pool), common=spare(self.common), host=spare(self.host)
        )

    def _of(self, candidate: Candidate) -> list[Supply]:
        common = None if candidate.is_evaluation else self.common
        host = self.host if candidate.uses_devices else None
        return [supply for supply in (self.pool, common, host) if supply is not None]

    def _held(self, hold: Hold) -> list[Supply]:
        supplies = (
            (self.pool, hold.in_pool),
            (self.common, hold.in_pool and not hold.is_evaluation),
            (self.host, hold.on_host),
        )
        return [supply for supply, is_its in supplies if supply is not None and is_its]


@dataclass(slots=True)
class Reservation:
    """The GPUs that the head of the queue waits for, until ``at``; of each supply, how many others
    may hold beyond that time."""

    supplies: Supplies
    at: float  # Unix seconds
    pool: int
    common: int
    host: int

    def fit(self, now: float) -> Fit:
        """Those that fit now and do not delay the head (EASY backfilling: Lifka, "The ANL/IBM SP
        scheduling system", 1995)."""
        supplies = self.supplies
        return Fit(
            training=min(_free(supplies.pool), _free(supplies.common)),
            evaluation=_free(supplies.pool),
            devices=_free(supplies.host),
            within_seconds=min(max(0.0, self.at - now), NO_LIMIT),
            spare_training=min(self.pool, self.common),
            spare_evaluation=self.pool,
            spare_devices=self.host,
        )

    def take(self, candidate: Candidate, now: float) -> None:
        """Take the GPUs of a candidate that fits."""
        expected = candidate.expected_seconds
        if expected is None or now + expected > self.at:
            self.pool -= candidate.gpu_count
            if not candidate.is_evaluation:
                self.common -= candidate.gpu_count
            if candidate.uses_devices:
                self.host -= candidate.gpu_count
        self.supplies.take(candidate, now)


def _free(supply: Supply | None) -> int:
    return NO_LIMIT if supply is None else supply.free


def _capacity(supply: Supply | None) -> int:
    return NO_LIMIT if supply is None else supply.capacity
