"""Numbers of this installation in Prometheus's text exposition format 0.0.4.

(https://prometheus.io/docs/instrumenting/exposition_formats)

These are gauges: what is of the last 30 days also falls. The number of lines is bounded by those of
projects and pools of which there have been runs in these days, and the time by the days' rows.
What operators are alerted by is in operation.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

from django.db.models import Count

from artifacts.storage_use import stored_bytes
from goodput import operation
from goodput.families import Family, Sample
from goodput.parts import Part
from goodput.report_queries import Grouping
from goodput.reports import Days, Group, report
from projects.sight import EVERYTHING
from runs.models import GpuPool, Run, Worker
from runs.status import ACTIVE

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def exposition() -> str:
    all_families = chain(families(), operation.families())
    lines = [line for family in all_families for line in family.lines()]
    return "\n".join(lines) + "\n"


def families() -> Iterator[Family]:
    yield Family("trainhub_runs", "Runs that have not ended, by status.", _runs())
    yield Family(
        "trainhub_runs_waiting_for_worker",
        "Runs that no worker holds: queued, resumed or interrupted.",
        [({}, Run.objects.unclaimed().count())],
    )
    yield Family("trainhub_workers", "Workers that are alive.", [({}, _workers())])
    yield Family("trainhub_gpus", "GPUs of a pool.", _capacities())
    yield Family("trainhub_gpus_in_use", "GPUs that runs of workers use.", _gpus_in_use())
    yield Family("trainhub_artifact_bytes", "Bytes of artifacts in the storage.", _stored())
    days = Days.containing(None, None)
    of_projects = report(Grouping.PROJECT, days, sight=EVERYTHING).groups
    of_pools = report(Grouping.POOL, days, sight=EVERYTHING).groups
    for by, groups in (("project", of_projects), ("pool", of_pools)):
        yield from _goodput(by, groups)


def _goodput(by: str, groups: list[Group]) -> Iterator[Family]:
    labels = [
        {"project": group.key, "name": group.name} if by == "project" else {"pool": group.key}
        for group in groups
    ]
    yield Family(
        f"trainhub_{by}_goodput_ratio",
        "Kept training / wall time, weighted by GPUs, of the last 30 days.",
        [
            (label, group.goodput)
            for label, group in zip(labels, groups, strict=True)
            if group.goodput is not None
        ],
    )
    yield Family(
        f"trainhub_{by}_gpu_seconds",
        "GPU time of the last 30 days, by where it went.",
        [
            ({**label, "part": part.value}, group.sums.gpu_parts[part] / 1_000_000)
            for label, group in zip(labels, groups, strict=True)
            for part in Part
        ],
    )


def _runs() -> list[Sample]:
    counts = Run.objects.kept().active().order_by().values_list("status").annotate(Count("pk"))
    found = dict(counts)
    return [({"status": status.name.lower()}, found.get(status, 0)) for status in sorted(ACTIVE)]


def _workers() -> int:
    return Worker.objects.alive().count()


def _stored() -> list[Sample]:
    """What is in the trash is stored, too, until its bytes are deleted."""
    total, trashed = stored_bytes()
    return [({"state": "kept"}, total - trashed), ({"state": "trash"}, trashed)]


def _capacities() -> list[Sample]:
    pools = GpuPool.objects.values_list("name", "capacity")
    return [({"pool": name}, capacity) for name, capacity in pools]


def _gpus_in_use() -> list[Sample]:
    used = dict.fromkeys(GpuPool.objects.values_list("pk", flat=True), 0)
    used |= Run.objects.gpus_in_use()
    return [({"pool": name}, count) for name, count in sorted(used.items())]
