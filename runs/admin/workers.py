"""The admin of workers, with how many runs they hold."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from core.admin import ReadOnlyAdmin
from runs.models import Run, Worker
from runs.status import RunStatus


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = (
        "name",
        "id",
        "host",
        "pid",
        "alive",
        "executors",
        "slots",
        "running_runs",
        "started_at",
        "last_heartbeat",
        "stopped_at",
    )
    ordering = ("-last_heartbeat", "id")
    id_lookups: ClassVar[dict[str, str]] = {"worker_": "pk__startswith"}
    word_lookups = ("name__icontains", "host__icontains")
    search_help_text = _("Search by ID or the start of it, or by words of the name or host.")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        running = Run.objects.filter(worker=OuterRef("pk"), status=RunStatus.RUNNING)
        count = running.order_by().values("worker").annotate(count=Count("pk")).values("count")
        workers: QuerySet[Worker] = super().get_queryset(request)
        return workers.annotate(running=Coalesce(Subquery(count), 0))

    @admin.display(description=_("alive"), boolean=True)
    def alive(self, worker: Worker) -> bool:
        return worker.is_alive

    @admin.display(description=_("runs"))
    def running_runs(self, worker: Any) -> int:
        return int(worker.running)
