"""What an operator is alerted by: the queue, workers, runs in trouble, storage, requests.

Each number is of an index, of the active runs, or of one file system: cheap, however many runs
there are.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.db import connection
from django.db.models import Count, Min
from django.utils import timezone

from artifacts.storage import artifact_storage
from core import request_counts
from goodput.families import Family, Sample
from runs.models import Run, StopKind, Worker
from runs.status import TERMINAL

ENDED_WITHIN: Final = timedelta(hours=1)
# Workers that were lost longer ago are forgotten: their hosts are gone.
LOST_WITHIN: Final = timedelta(days=1)


def families() -> Iterator[Family]:
    now = timezone.now()
    yield Family(
        "trainhub_queue_oldest_wait_seconds",
        "How long the run has waited that is queued for longest; 0: none is.",
        [({}, _oldest_wait(now))],
    )
    yield Family(
        "trainhub_runs_ended", "Runs that have ended in the last hour, by status.", _ended(now)
    )
    yield Family(
        "trainhub_runs_in_trouble",
        "Running runs whose output cannot be stored, or whose worker meets errors and tries again.",
        [({}, _in_trouble())],
    )
    yield from _workers(now)
    yield from _storage()
    yield Family("trainhub_database_size_bytes", "Size of the database.", [({}, _database_size())])
    yield Family(
        "trainhub_http_requests_total",
        "Requests that this web server has answered, by class of status.",
        [({"status": name}, number) for name, number in request_counts.totals().items()],
        type="counter",
    )


def _oldest_wait(now: datetime) -> float:
    oldest = Run.objects.kept().unclaimed().queued().aggregate(at=Min("queued_at"))["at"]
    return max(0.0, (now - oldest).total_seconds()) if oldest else 0.0


def _ended(now: datetime) -> list[Sample]:
    recent = Run.objects.kept().filter(finished_at__gte=now - ENDED_WITHIN).order_by()
    found = dict(recent.values_list("status").annotate(Count("pk")))
    return [({"status": status.name.lower()}, found.get(status, 0)) for status in sorted(TERMINAL)]


def _in_trouble() -> int:
    """See runs/troubles.py; a run that is being stopped because it stalls has a reason, too."""
    told = Run.objects.kept().running().exclude(status_reason="")
    return told.exclude(stop_kind=StopKind.STALLED).count()


def _workers(now: datetime) -> Iterator[Family]:
    known = Worker.objects.filter(stopped_at=None, last_heartbeat__gte=now - LOST_WITHIN)
    ages = {
        name: max(0.0, (now - heartbeat).total_seconds())
        for name, heartbeat in known.order_by("name").values_list("name", "last_heartbeat")
    }
    lost = sum(age >= settings.WORKER_LEASE_SECONDS for age in ages.values())
    yield Family(
        "trainhub_workers_lost",
        "Workers that have ended without a word in the last day.",
        [({}, lost)],
    )
    yield Family(
        "trainhub_worker_heartbeat_age_seconds",
        "Time since the last heartbeat of a worker that has not stopped.",
        [({"worker": name}, age) for name, age in ages.items()],
    )


def _storage() -> Iterator[Family]:
    usages = {name: shutil.disk_usage(path) for name, path in _file_systems()}
    yield Family(
        "trainhub_storage_free_bytes",
        "Free space of a file system of this web server: the data directory's, the artifacts'.",
        [({"storage": name}, usage.free) for name, usage in usages.items()],
    )
    yield Family(
        "trainhub_storage_size_bytes",
        "Size of a file system of this web server.",
        [({"storage": name}, usage.total) for name, usage in usages.items()],
    )


def _file_systems() -> Iterator[tuple[str, Path]]:
    """Those that are there: artifacts in S3 have none, and a new installation no artifacts."""
    yield "data", settings.DATA_DIR
    storage = artifact_storage()
    if isinstance(storage, FileSystemStorage) and Path(storage.location).exists():
        yield "artifacts", Path(storage.location)


def _database_size() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        row = cursor.fetchone()
    return int(row[0])
