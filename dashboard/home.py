"""Data of the first page: what runs, waits, has failed and was released, of all projects that the
reader sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib.auth.models import User
from django.db.models import Count, F, Max, Q, QuerySet
from django.utils import timezone

from artifacts.kinds import TagValue
from artifacts.models import ArtifactTag
from dashboard.cluster_status import PoolRow, pool_rows
from dashboard.live import moment
from execution.scheduling.explanation import Explanation, explain_queue
from metrics.key_metrics import keys_of
from metrics.sparklines import Column, sparklines
from metrics.time_left import TimeLeft, times_left
from projects.models import Project
from projects.sight import Sight
from registry.release_requests import ReleaseRequest
from runs.models import Run, RunEvent, RunQuerySet, Worker
from runs.models.run_queryset import DOCUMENTS
from runs.silence import latest
from runs.status import RunStatus

RUNNING_SHOWN: Final = 20
WAITING_SHOWN: Final = 10
FAILED_SHOWN: Final = 20
RELEASED_SHOWN: Final = 8
REQUESTS_SHOWN: Final = 8
FAILED_SINCE: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class RunningRow:
    run: Run
    key: str  # its main metric; "" if it has none
    value: Any
    curve: list[Column]
    time_left: TimeLeft | None
    heard_at: datetime | None


@dataclass(frozen=True, slots=True)
class Home:
    running: list[RunningRow]
    running_count: int
    waiting: list[Explanation]
    waiting_count: int
    failed: list[Run]
    failed_count: int
    released: list[ArtifactTag]
    requests: list[ReleaseRequest]  # for releases, which the reader may decide on
    pools: list[PoolRow]
    has_projects: bool
    has_runs: bool
    has_workers: bool

    @property
    def running_hidden(self) -> int:
        return self.running_count - len(self.running)


def at_work(user: User) -> RunQuerySet:
    """What runs now: the runs that a worker holds, and the scripts elsewhere."""
    runs = Run.objects.visible_to(user).kept().running()
    return runs.filter(Q(worker__isnull=False) | Q(recipe=None))


def newest_start_first(runs: RunQuerySet) -> RunQuerySet:
    return (
        runs.select_related("project", "worker", "created_by", "recipe")
        .brief("metrics")
        .order_by(F("started_at").desc(nulls_last=True), "id")
    )


def home(user: User, sight: Sight) -> Home:
    running = list(newest_start_first(at_work(user))[:RUNNING_SHOWN])
    pools = pool_rows(sight)
    failed = failed_runs(user)
    shown = list(failed[: FAILED_SHOWN + 1])
    return Home(
        running=running_rows(running),
        running_count=_count(at_work(user), len(running), RUNNING_SHOWN),
        waiting=explain_queue(WAITING_SHOWN, sight),
        waiting_count=sight.narrow(Run.objects.unclaimed(), "project").count(),
        failed=shown[:FAILED_SHOWN],
        failed_count=failed.count() if len(shown) > FAILED_SHOWN else len(shown),
        released=released(sight),
        requests=list(waiting_requests(user)[:REQUESTS_SHOWN]),
        pools=pools,
        has_projects=Project.objects.visible_to(user).exists(),
        has_runs=bool(running) or Run.objects.visible_to(user).exists(),
        has_workers=Worker.objects.alive().exists(),
    )


def _count(runs: RunQuerySet, shown: int, limit: int) -> int:
    return shown if shown < limit else runs.count()


def failed_runs(user: User) -> RunQuerySet:
    """What has failed since yesterday, the newest first."""
    since = timezone.now() - FAILED_SINCE
    runs = Run.objects.visible_to(user).kept().filter(status=RunStatus.FAILED)
    return (
        runs.filter(finished_at__gte=since)
        .select_related("project", "created_by")
        .brief()
        .order_by("-finished_at", "id")
    )


def released(sight: Sight) -> list[ArtifactTag]:
    """The visible checkpoints that were released last."""
    tags = ArtifactTag.objects.filter(value=TagValue.RELEASED).order_by("-applied_at", "-id")
    tags = sight.narrow(tags, "artifact__run__project")
    tags = tags.select_related("applied_by", "artifact__run__project")
    tags = tags.defer(*(f"artifact__run__{document}" for document in sorted(DOCUMENTS)))
    return list(tags[:RELEASED_SHOWN])


def waiting_requests(user: User) -> QuerySet[ReleaseRequest]:
    return ReleaseRequest.objects.waiting_for(user).with_people().order_by("asked_at", "id")


def running_rows(runs: Sequence[Run]) -> list[RunningRow]:
    """Each with the course of its main metric and its time left: a few statements for all runs."""
    main = {run.pk: next(iter(keys_of(run)), "") for run in runs}
    curves = sparklines((pk, key) for pk, key in main.items() if key)
    left = times_left(runs)
    return [
        RunningRow(
            run,
            main[run.pk],
            run.metrics.get(main[run.pk]),
            curve=curves.get((run.pk, main[run.pk]), []),
            time_left=left.get(run.pk),
            heard_at=latest(run.reported_at, run.attempt_started_at),
        )
        for run in runs
    ]


def version(user: User) -> str:
    """Changes with what the page shows. The minute: reports that do not come change it, too."""
    running = at_work(user).aggregate(count=Count("pk"), at=Max("updated_at"))
    parts = (
        RunEvent.objects.aggregate(last=Max("id"))["last"],
        running["count"],
        running["at"],
        ArtifactTag.objects.filter(value=TagValue.RELEASED).aggregate(at=Max("applied_at"))["at"],
        Worker.objects.alive().count(),
        waiting_requests(user).aggregate(count=Count("pk"), at=Max("asked_at")),
        moment(60),
    )
    return repr(parts)
