"""The queue of a pool as it is in the database, read in the order of ``Place`` as far as needed.

Runs of one priority are read project by project, which are ordered by the GPU time that they have
used lately: the first few of each, by an index that has them in order of age. More are read when
these do not decide.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from core.database import Bigints, Statement, Texts
from core.pipeline import Rows
from execution.scheduling.candidate import Candidate, Place
from execution.scheduling.quotas import Quotas
from execution.scheduling.supply import FIT_FIELDS, Fit
from runs.models import RecipeKind
from runs.status import RunStatus

# Of the present: an index has them, runs_run.run_queue_of_pool.
_WAITING: Final = f"status = '{RunStatus.QUEUED.value}' AND worker_id IS NULL"
# What is left of it: an attempt goes on where the one before has saved.
EXPECTED_SECONDS: Final = """
    (expected_seconds * (1 - CASE
        WHEN total_steps > start_step
        THEN least(greatest((step - start_step)::float8 / (total_steps - start_step), 0), 1)
        ELSE 0
    END))::float8
"""
_COLUMNS: Final = f"""
    id, project_id, gpu_count::int8, {EXPECTED_SECONDS},
    kind = '{RecipeKind.EVALUATION.value}', recipe_id = ANY (%(device_recipes)s::text[])
"""
# The pools and priorities of the queue: the next one of the index each time, so that it takes as
# many steps as there are, however many runs there are
# (https://wiki.postgresql.org/wiki/Loose_indexscan).
PRIORITIES: Final = Statement(
    f"""
WITH RECURSIVE found AS (
    (
        SELECT pool, priority * -1 AS descending
        FROM runs_run WHERE {_WAITING}
        ORDER BY pool, priority * -1 LIMIT 1
    )
    UNION ALL
    SELECT next.*
    FROM found, LATERAL (
        SELECT pool, priority * -1
        FROM runs_run
        WHERE {_WAITING} AND (pool, priority * -1) > (found.pool, found.descending)
        ORDER BY pool, priority * -1 LIMIT 1
    ) AS next
)
SELECT * FROM found
"""  # noqa: S608  composed of constants
)
# Of one priority, the first runs of each project; the projects are found in the same way.
FIRST_OF_PROJECTS: Final = Statement(
    f"""
WITH RECURSIVE project AS (
    (
        SELECT project_id AS id
        FROM runs_run
        WHERE {_WAITING} AND pool = %(pool)s::text AND priority * -1 = %(descending)s::int4
        ORDER BY project_id LIMIT 1
    )
    UNION ALL
    SELECT next.*
    FROM project, LATERAL (
        SELECT project_id
        FROM runs_run
        WHERE {_WAITING} AND pool = %(pool)s::text AND priority * -1 = %(descending)s::int4
            AND project_id > project.id
        ORDER BY project_id LIMIT 1
    ) AS next
)
SELECT next.*
FROM project
LEFT JOIN unnest(%(limited)s::text[], %(gpus)s::int8[]) AS quota (project_id, gpus)
    ON quota.project_id = project.id,
LATERAL (
    SELECT {_COLUMNS}, extract(epoch FROM queued_at)::float8
    FROM runs_run
    WHERE {_WAITING} AND pool = %(pool)s::text AND priority * -1 = %(descending)s::int4
        AND project_id = project.id AND recipe_id = ANY (%(recipes)s::text[])
        AND (quota.gpus IS NULL OR gpu_count <= quota.gpus)
        AND gpu_count <= CASE
            WHEN kind = '{RecipeKind.EVALUATION.value}' THEN %(evaluation)s::int8
            ELSE %(training)s::int8
        END
        AND (gpu_count <= %(devices)s::int8 OR recipe_id <> ALL (%(device_recipes)s::text[]))
        AND (
            %(within_seconds)s::float8 = 'Infinity'
            OR {EXPECTED_SECONDS} <= %(within_seconds)s::float8
            OR gpu_count <= CASE
                WHEN kind = '{RecipeKind.EVALUATION.value}' THEN %(spare_evaluation)s::int8
                ELSE %(spare_training)s::int8
            END AND (
                gpu_count <= %(spare_devices)s::int8
                OR recipe_id <> ALL (%(device_recipes)s::text[])
            )
        )
        AND id <> ALL (%(taken)s::text[])
    ORDER BY queued_at, id
    LIMIT %(batch)s::int8
) AS next
"""  # noqa: S608
)
# Runs in progress without a worker: resumed, recovered, released.
INTERRUPTED: Final = Statement(
    f"""
SELECT
    id, project_id, gpu_count::int8, {EXPECTED_SECONDS},
    kind = '{RecipeKind.EVALUATION.value}', recipe_id, extract(epoch FROM started_at)::float8, pool
FROM runs_run
WHERE status = '{RunStatus.RUNNING.value}' AND worker_id IS NULL AND recipe_id IS NOT NULL
"""  # noqa: S608
)


@dataclass(frozen=True, slots=True)
class Scope:
    """What one claim considers. ``usage``: GPU-seconds of each project in the window of fair share;
    ``batch``: how many runs of a project are read at once."""

    recipes: list[str]
    device_recipes: list[str]  # those of them whose runs use devices of the worker's host
    usage: dict[str, float]
    quotas: Quotas
    batch: int

    def interrupted(self, rows: Rows) -> list[tuple[str, Candidate]]:
        """Those of the interrupted runs that are of its recipes, each with its pool."""
        found = []
        for pk, project, count, expected, evaluates, recipe, since, pool in rows:
            if recipe in self.recipes:
                place = Place(False, 0, 0.0, since, pk)
                devices = recipe in self.device_recipes
                candidate = Candidate(pk, project, place, count, expected, evaluates, devices)
                found.append((pool, candidate))
        return sorted(found, key=lambda item: item[1].place)


@dataclass(slots=True)
class Waiting:
    """What waits for a pool: interrupted runs, in order, and the priorities of the others, highest
    first, negated as in ``Place``."""

    interrupted: list[Candidate] = field(default_factory=list)
    descending: list[int] = field(default_factory=list)


def waiting(scope: Scope, interrupted: Rows, priorities: Rows) -> dict[str, Waiting]:
    """By pool, from the rows of INTERRUPTED and PRIORITIES."""
    found: dict[str, Waiting] = defaultdict(Waiting)
    for pool, candidate in scope.interrupted(interrupted):
        found[pool].interrupted.append(candidate)
    for pool, descending in priorities:
        found[pool].descending.append(descending)
    return found


class StoredQueue:
    """See policy.Queue."""

    def __init__(self, pool: str, scope: Scope, waiting: Waiting, capacity: Fit) -> None:
        """``capacity``: what a pass will ask for in any case, and is therefore read first."""
        self._pool = pool
        self._scope = scope
        self.capacity = capacity
        self._interrupted = waiting.interrupted
        self._taken: set[str] = set()
        self._tiers = [_Tier(self, descending) for descending in waiting.descending]

    def first(self, fit: Fit) -> Candidate | None:
        for candidate in self._interrupted:
            if fit.allows(candidate) and self.is_free(candidate):
                return candidate
        found = (tier.first(fit) for tier in self._tiers)
        return next((candidate for candidate in found if candidate is not None), None)

    def take(self, candidate: Candidate) -> None:
        self._taken.add(candidate.run_id)
        self._scope.quotas.take(candidate.project_id, self._pool, candidate.gpu_count)

    def skip(self, candidate: Candidate) -> None:
        self._taken.add(candidate.run_id)

    def is_free(self, candidate: Candidate) -> bool:
        """Whether it is neither taken nor held back by a quota."""
        if candidate.run_id in self._taken:
            return False
        limits = self._scope.quotas.of(candidate.project_id, self._pool)
        return all(candidate.gpu_count <= limit.left for limit in limits)

    def read(self, descending: int, fit: Fit) -> Iterator[Candidate]:
        """The first runs of each project that are free and fit, in no order."""
        scope = self._scope
        left = scope.quotas.left(self._pool)
        rows = FIRST_OF_PROJECTS.rows(
            pool=self._pool,
            descending=descending,
            limited=Texts(left),
            gpus=Bigints(left.values()),
            recipes=Texts(scope.recipes),
            device_recipes=Texts(scope.device_recipes),
            taken=Texts(self._taken),
            batch=scope.batch,
            **{name: getattr(fit, name) for name in FIT_FIELDS},
        )
        for pk, project, count, expected, evaluates, devices, since in rows:
            place = Place(True, descending, scope.usage.get(project, 0.0), since, pk)
            yield Candidate(pk, project, place, count, expected, evaluates, devices)

    @property
    def batch(self) -> int:
        return self._scope.batch


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read for ``fit``, in order. ``ends``: the last run of each project that has more."""

    fit: Fit
    rows: list[Candidate]
    ends: set[str]


class _Tier:
    """The runs of one priority."""

    def __init__(self, queue: StoredQueue, descending: int) -> None:
        self._queue = queue
        self._descending = descending
        self._widest: _Read | None = None
        self._latest: _Read | None = None

    def first(self, fit: Fit) -> Candidate | None:
        for read in (self._latest, self._widest):
            if read is not None and fit.is_within(read.fit):
                found, is_decided = self._scan(read, fit)
                if is_decided:
                    return found
        if self._widest is None and fit.is_within(self._queue.capacity):
            self._widest = self._load(self._queue.capacity)
            found, is_decided = self._scan(self._widest, fit)
            if is_decided:
                return found
        self._latest = self._load(fit)
        found, _is_decided = self._scan(self._latest, fit)
        return found

    def _scan(self, read: _Read, fit: Fit) -> tuple[Candidate | None, bool]:
        """The first of the rows that fits, and whether none that was not read may go before it."""
        for candidate in read.rows:
            if fit.allows(candidate) and self._queue.is_free(candidate):
                return candidate, True
            if candidate.run_id in read.ends:
                return None, False
        return None, True

    def _load(self, fit: Fit) -> _Read:
        rows = sorted(
            self._queue.read(self._descending, fit),
            key=lambda candidate: candidate.place,
        )
        counts = Counter(candidate.project_id for candidate in rows)
        last = {candidate.project_id: candidate.run_id for candidate in rows}
        ends = {run_id for project, run_id in last.items() if counts[project] >= self._queue.batch}
        return _Read(fit, rows, ends)
