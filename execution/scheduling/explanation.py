"""Why a run waits: its place in the queue, what it waits for, when it will start."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any, Final

from django.utils.translation import gettext as _

from core.database import Doubles, Statement, Texts, current_time
from execution.scheduling.candidate import Candidate, Place
from execution.scheduling.claiming import uses_devices
from execution.scheduling.endings import Endings
from execution.scheduling.forecast import likely_starts
from execution.scheduling.gpu_use import GpuUse, expected_ends
from execution.scheduling.host_devices import HostDevices
from execution.scheduling.pools import of_scheduler
from execution.scheduling.quotas import Quotas
from execution.scheduling.rules import rules_of_settings
from execution.scheduling.stored_queue import EXPECTED_SECONDS
from execution.scheduling.supply import Supplies, Supply
from projects.sight import Sight
from runs.models import GpuPool, RecipeKind, Run, Worker
from runs.status import RunStatus

LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
MOST_AHEAD: Final = 2000  # runs for which a start is still estimated


class WaitsFor(enum.StrEnum):
    """What keeps a run from starting; part of the API."""

    NOTHING = "nothing"  # it runs, or is over
    CONTINUE = "continue"  # somebody has paused it
    WORKER = "worker"
    CAPACITY = "capacity"  # there are not as many GPUs
    QUOTA = "quota"
    GPUS = "gpus"
    RUNS_AHEAD = "runs_ahead"  # GPUs are free, but held back for a run ahead of it
    SLOT = "slot"
    CLUSTER = "cluster"  # it is in the queue of its cluster


@dataclass(frozen=True, slots=True)
class Explanation:
    """``position``: 1 is the first in the queue of its pool; None if it does not wait there.
    ``estimated_start``: None if it is not known."""

    run: Run
    position: int | None
    waits_for: WaitsFor
    reason: str
    estimated_start: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "run": self.run.pk,
            "status": self.run.status,
            "position": self.position,
            "waits_for": self.waits_for.value,
            "reason": self.reason,
            "estimated_start": self.estimated_start,
        }


# The queue of a pool, or of all, in the order of Place. A rank counts all, also those beyond the
# limit.
ORDER: Final = Statement(
    f"""
SELECT * FROM (
    SELECT
        id, project_id, gpu_count::int8, {EXPECTED_SECONDS},
        kind = '{RecipeKind.EVALUATION.value}', pool, recipe_id, expected_seconds,
        (status = '{RunStatus.QUEUED.value}') AS is_queued,
        priority::int8, coalesce(used.seconds, 0),
        extract(epoch FROM CASE
            WHEN status = '{RunStatus.QUEUED.value}' THEN queued_at ELSE started_at
        END)::float8 AS since,
        row_number() OVER (PARTITION BY pool ORDER BY
            status = '{RunStatus.QUEUED.value}',
            CASE WHEN status = '{RunStatus.QUEUED.value}' THEN -priority ELSE 0 END,
            CASE
                WHEN status = '{RunStatus.QUEUED.value}' THEN coalesce(used.seconds, 0) ELSE 0
            END,
            CASE WHEN status = '{RunStatus.QUEUED.value}' THEN queued_at ELSE started_at END, id
        ) AS position
    FROM runs_run
    LEFT JOIN unnest(%(projects)s::text[], %(usage)s::float8[]) AS used (project_id, seconds)
        USING (project_id)
    WHERE status IN ('{RunStatus.QUEUED.value}', '{RunStatus.RUNNING.value}')
        AND worker_id IS NULL AND recipe_id IS NOT NULL
        AND (%(pool)s::text IS NULL OR pool = %(pool)s::text)
) AS ordered
WHERE position <= %(most)s::int8 OR id = %(run)s::text
ORDER BY position, pool
"""  # noqa: S608  composed of constants
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run of the queue. ``position``: in that of its pool, from 1."""

    candidate: Candidate
    pool: str
    position: int


class Explainer:
    """Explains any number of runs; reads what it needs of the cluster once."""

    def __init__(self) -> None:
        self._now = current_time().timestamp()
        self._use = GpuUse.read(rules_of_settings().fair_share_days)
        self._quotas = Quotas.read(self._use)
        self._pools = {pool.name: pool for pool in GpuPool.objects.all()}
        self._starts: dict[str, dict[str, float]] = {}  # pool -> run -> Unix seconds

    def explain(self, run: Run) -> Explanation:
        if run.status == RunStatus.PAUSED:
            text = _("It is paused: continue it to put it back into the queue.")
            return Explanation(run, None, WaitsFor.CONTINUE, text)
        if run.is_held and run.status == RunStatus.QUEUED:
            return in_cluster(run)
        if run.is_terminal or run.is_unmanaged or run.is_held:
            return Explanation(run, None, WaitsFor.NOTHING, _what_happens(run))
        queue = self.order(run.pool, MOST_AHEAD, run.pk)
        found = next((item for item in queue if item.candidate.run_id == run.pk), None)
        if found is None:  # it has just been claimed
            return Explanation(run, None, WaitsFor.NOTHING, _("It is about to start."))
        starts = partial(self._forecast, run.pool, queue, {run.pk})
        return self._explain_waiting(run, found, starts)

    def explain_listed(self, run: Run, waiting: Waiting, listed: Sequence[Waiting]) -> Explanation:
        """``listed``: those of the queue that are to be explained."""
        return self._explain_waiting(run, waiting, partial(self._starts_of, run.pool, listed))

    def _explain_waiting(
        self, run: Run, waiting: Waiting, starts: Callable[[], dict[str, float]]
    ) -> Explanation:
        waits_for, reason = self._reason(run, waiting)
        start = None
        if waits_for in {WaitsFor.GPUS, WaitsFor.RUNS_AHEAD} and waiting.position <= MOST_AHEAD:
            at = starts().get(run.pk)
            start = None if at is None or at > LATEST else datetime.fromtimestamp(at, UTC)
        return Explanation(run, waiting.position, waits_for, reason, start)

    def order(self, pool: str | None, most: int, run: str = "") -> list[Waiting]:
        """The first ``most`` runs that wait in the pool's queue, or in that of each pool, and
        ``run``."""
        usage = self._use.usage()
        rows = ORDER.rows(
            projects=Texts(usage), usage=Doubles(usage.values()), pool=pool, most=most, run=run
        )
        listed = []
        for row in rows:
            (
                pk, project, gpus, expected, evaluates, of_pool, recipe, planned,
                is_queued, priority, used, since, position,
            ) = row  # fmt: skip
            place = Place(
                is_queued,
                -priority if is_queued else 0,
                used if is_queued else 0.0,
                since,
                pk,
            )
            candidate = Candidate(
                pk,
                project,
                place,
                gpus,
                expected,
                evaluates,
                recipe_id=recipe,
                planned_seconds=planned,
            )
            listed.append(Waiting(candidate, of_pool, position))
        return listed

    def _reason(self, run: Run, waiting: Waiting) -> tuple[WaitsFor, str]:
        executor = "" if run.recipe is None else run.recipe.executor
        hosts = [(worker, host) for worker, host in self._hosts if executor in worker.executors]
        if reason := _no_worker(run, hosts, self._pools.get(run.pool)):
            return WaitsFor.WORKER, reason
        hosts = [(worker, host) for worker, host in hosts if not worker.draining]
        reasons = (
            (WaitsFor.CAPACITY, self._beyond_capacity(run)),
            (WaitsFor.CAPACITY, _beyond_hosts(run, executor, hosts)),
            (WaitsFor.QUOTA, self._beyond_quota(run)),
            (WaitsFor.GPUS, self._beyond_free(run)),
            (WaitsFor.GPUS, _beyond_free_devices(run, executor, hosts)),
        )
        for waits_for, reason in reasons:
            if reason:
                return waits_for, reason
        ahead = waiting.position - 1
        if ahead == 0:
            return WaitsFor.SLOT, _(
                "Next in the queue: a worker will claim it as soon as it has a free slot."
            )
        if run.pool:
            return WaitsFor.RUNS_AHEAD, _(
                "GPUs are free, but held back for runs ahead of it: %(ahead)d."
            ) % {"ahead": ahead}
        return WaitsFor.SLOT, _("Waiting for a free slot; runs ahead of it: %(ahead)d.") % {
            "ahead": ahead
        }

    # --- reasons -----------------------------------------------------------------------------

    def _beyond_capacity(self, run: Run) -> str:
        if not run.pool:
            return ""
        pool = self._pools.get(run.pool)
        if pool is not None and of_scheduler(pool):
            return ""
        if pool is None:
            return _("Its GPU pool %(pool)s has been deleted.") % {"pool": run.pool}
        for_it = pool.capacity - (0 if run.kind == RecipeKind.EVALUATION else pool.reserve)
        if run.gpu_count <= for_it:
            return ""
        return _("It requests %(requested)d %(type)s GPUs, but there are only %(capacity)d.") % {
            "requested": run.gpu_count,
            "type": run.gpu_type,
            "capacity": for_it,
        }

    def _beyond_quota(self, run: Run) -> str:
        for limit in self._quotas.of(run.project_id, run.pool):
            if run.gpu_count > max(0, limit.left):
                return limit.reason()
        return ""

    def _beyond_free(self, run: Run) -> str:
        supplies = self._supplies(run.pool)
        supply = supplies.pool if run.kind == RecipeKind.EVALUATION else supplies.common
        if supplies.pool is None or supply is None:
            return ""
        free = min(supply.free, supplies.pool.free)
        if run.gpu_count <= free:
            return ""
        return _("Waiting for %(requested)d %(type)s GPUs; %(free)d are free.") % {
            "requested": run.gpu_count,
            "type": run.gpu_type,
            "free": max(0, free),
        }

    # --- state -------------------------------------------------------------------------------

    @cached_property
    def _hosts(self) -> Hosts:
        """The workers that are alive, each with what is read of its host once for all runs."""
        return [(worker, HostDevices(worker)) for worker in Worker.objects.alive()]

    def _supplies(self, name: str) -> Supplies:
        pool = self._pools.get(name)
        if pool is None or of_scheduler(pool):
            return Supplies()
        used, evaluating = self._use.in_pool(name), self._use.evaluations.get(name, 0)
        common = pool.capacity - pool.reserve
        return Supplies(
            pool=Supply(pool.capacity, pool.capacity - used),
            common=Supply(common, common - (used - evaluating)),
            reserve=pool.reserve,
        )

    def _starts_of(self, pool: str, listed: Sequence[Waiting]) -> dict[str, float]:
        if pool not in self._starts:
            wanted = {item.candidate.run_id for item in listed}
            self._starts[pool] = self._forecast(pool, listed, wanted)
        return self._starts[pool]

    def _forecast(self, pool: str, queue: Sequence[Waiting], wanted: Set[str]) -> dict[str, float]:
        candidates = [
            item.candidate
            for item in queue
            if item.pool == pool and self._is_within_quotas(item.candidate, pool)
        ]
        return likely_starts(
            candidates,
            expected_ends(pool),
            lambda: self._supplies(pool),
            self._now,
            Endings.read(pool),
            wanted=wanted,
        )

    def _is_within_quotas(self, candidate: Candidate, pool: str) -> bool:
        """Those that wait for their quota are left out: when it is free is not known."""
        limits = self._quotas.of(candidate.project_id, pool)
        return all(candidate.gpu_count <= limit.left for limit in limits)


Hosts = list[tuple[Worker, HostDevices]]


def explain(run: Run) -> Explanation:
    return Explainer().explain(run)


def in_cluster(run: Run) -> Explanation:
    """Of a run that waits in the queue of its cluster, which says why."""
    reason = str(run.status_reason) or _("It is in the queue of its cluster.")
    return Explanation(run, None, WaitsFor.CLUSTER, reason, run.estimated_start)


def explain_queue(limit: int, sight: Sight) -> list[Explanation]:
    """The first ``limit`` visible runs of the queues of all pools, and of those of clusters. Their
    positions and starts count also the others."""
    explainer = Explainer()
    listed = explainer.order(None, MOST_AHEAD if sight.is_limited else limit)
    shown = [item for item in listed if item.candidate.project_id in sight][:limit]
    listed = _up_to(shown, listed)
    runs = (
        Run.objects.unclaimed()
        .select_related("recipe", "project")
        .brief()
        .in_bulk([item.candidate.run_id for item in shown])
    )
    explained = [
        explainer.explain_listed(runs[item.candidate.run_id], item, listed)
        for item in shown
        if item.candidate.run_id in runs
    ]
    submitted = Run.objects.queued().exclude(worker=None).in_queue_order().brief()
    submitted = sight.narrow(submitted, "project")
    submitted = submitted.select_related("recipe", "project")[: limit - len(explained)]
    return explained + [in_cluster(run) for run in submitted]


def _up_to(shown: Sequence[Waiting], listed: Sequence[Waiting]) -> list[Waiting]:
    """Of ``listed`` those that are in the queue of their pool up to the last one that is shown."""
    last = {item.pool: item.position for item in shown}  # they are by position
    return [item for item in listed if item.position <= last.get(item.pool, 0)]


def _what_happens(run: Run) -> str:
    if run.is_terminal:
        return _("It has ended: %(status)s.") % {"status": run.get_status_display()}
    if run.is_unmanaged:
        return _("It is unmanaged: no worker executes it.")
    return _("A worker executes it.")


def _no_worker(run: Run, hosts: Hosts, pool: GpuPool | None) -> str:
    """Why no worker will claim it; "" if one will."""
    if pool is not None and pool.hosts:
        hosts = [(worker, host) for worker, host in hosts if worker.host in pool.hosts]
    if not hosts:
        return _("No running worker can execute it.")
    if all(worker.draining for worker, _host in hosts):
        return _("Every worker that can execute it is draining: it takes no new runs.")
    return ""


def _known(run: Run, executor: str, hosts: Hosts) -> list[HostDevices]:
    """The hosts of the workers, if it is known which devices each of them has and the run uses
    some."""
    if not (run.gpu_count and executor and uses_devices(executor)):
        return []
    if any(worker.devices is None for worker, _host in hosts):
        return []
    return [host for _worker, host in hosts]


def _beyond_hosts(run: Run, executor: str, hosts: Hosts) -> str:
    known = _known(run, executor, hosts)
    if known and all(run.gpu_count > host.count for host in known):
        return _("It requests %(requested)d GPUs; no worker's host has that many.") % {
            "requested": run.gpu_count
        }
    return ""


def _beyond_free_devices(run: Run, executor: str, hosts: Hosts) -> str:
    known = _known(run, executor, hosts)
    if known and all(run.gpu_count > (host.free or 0) for host in known):
        return _("Waiting until a worker's host has %(requested)d free GPUs.") % {
            "requested": run.gpu_count
        }
    return ""
