"""The admin of runs and their events: view, cancel and retry."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from core.admin import ReadOnlyAdmin, ReadOnlyInline, act_on_each
from runs import actions
from runs.admin.links import run_link
from runs.models import Run, RunEvent
from runs.models.run_queryset import DOCUMENTS
from runs.status import ACTIVE, TERMINAL


class LifecycleFilter(admin.SimpleListFilter):
    title = _("lifecycle")
    parameter_name = "life"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("active", _("queued or running")),
            ("stopping", _("stopping")),
            ("over", _("ended")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        match self.value():
            case "active":
                return queryset.filter(status__in=ACTIVE)
            case "stopping":
                return queryset.filter(status__in=ACTIVE, stop_requested_at__isnull=False)
            case "over":
                return queryset.filter(status__in=TERMINAL)
            case _other:
                return queryset


class RunEventInline(ReadOnlyInline):
    model = RunEvent
    verbose_name_plural = _("history")
    fields = (
        "created_at",
        "kind",
        "from_status",
        "to_status",
        "attempt",
        "actor",
        "worker",
        "reason",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[RunEvent]:
        return super().get_queryset(request).select_related("actor", "worker")


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """Read-only: runs change only by their actions, here, in the dashboard and in the API."""

    list_display = (
        "id",
        "name",
        "project",
        "status",
        "progress_percent",
        "recipe",
        "worker",
        "attempt",
        "priority",
        "created_at",
        "finished_at",
    )
    list_select_related = ("project", "recipe", "worker")
    list_filter = (LifecycleFilter, "status", "recipe", "created_at")
    ordering = ("-created_at", "id")
    id_lookups: ClassVar[dict[str, str]] = {
        "run_": "pk__startswith",
        "proj_": "project__id__startswith",
        "worker_": "worker__id__startswith",
        "ckpt_": "artifacts__id__exact",
    }
    word_lookups = ("name__startswith",)
    search_help_text = _(
        "Search by run, project or worker ID or the start of it, by checkpoint ID, or by the start "
        "of a name, which is faster with the project ID."
    )
    inlines = (RunEventInline,)
    actions = ("cancel", "retry")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "id",
                    "name",
                    "project",
                    "project_version",
                    "status",
                    "status_reason",
                    "failure_kind",
                    "progress",
                    "step",
                    "total_steps",
                    "metrics",
                    "gpu_utilization",
                    "links",
                )
            },
        ),
        (
            _("Configuration"),
            {
                "fields": (
                    "recipe",
                    "model",
                    "dataset",
                    "hyperparameters",
                    "gpu_type",
                    "gpu_count",
                    "pool",
                    "priority",
                    "preemptible",
                    "resumed_from_id",
                    "start_step",
                )
            },
        ),
        (
            _("Execution"),
            {
                "fields": (
                    "worker",
                    "attempt",
                    "restart_count",
                    "max_restarts",
                    "stop_kind",
                    "stop_requested_at",
                    "exit_code",
                    "executor_state",
                )
            },
        ),
        (
            _("Timestamps"),
            {
                "fields": (
                    "created_by",
                    "created_at",
                    "queued_at",
                    "started_at",
                    "attempt_started_at",
                    "reported_at",
                    "stepped_at",
                    "finished_at",
                    "updated_at",
                )
            },
        ),
    )
    readonly_fields = ("executor_state", "links")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        runs = super().get_queryset(request)
        match = request.resolver_match
        is_list = match is not None and match.url_name == "runs_run_changelist"
        return runs.defer(*DOCUMENTS) if is_list else runs

    def view_on_site(self, run: Run) -> str:
        return reverse("dashboard:run", args=[run.project_id, run.pk])

    @admin.display(description=_("progress"))
    def progress_percent(self, run: Run) -> str:
        return f"{run.progress:.0%}"

    @admin.display(description=_("links"))
    def links(self, run: Run) -> SafeString:
        """Links instead of inline lists: a run may have millions of points and log lines."""
        return format_html(
            '<a href="{}?run__id__exact={}">{}</a> · <a href="{}?run__id__exact={}">{}</a> · '
            '<a href="{}">{}</a>',
            reverse("admin:artifacts_artifact_changelist"),
            run.pk,
            _("artifacts"),
            reverse("admin:metrics_metricseries_changelist"),
            run.pk,
            _("metrics"),
            self.view_on_site(run),
            _("curves and log"),
        )

    @admin.action(description=_("Cancel"), permissions=["operate"])
    def cancel(self, request: HttpRequest, runs: QuerySet[Run]) -> None:
        assert request.user.is_authenticated
        by = request.user
        # Do not wait: a slow worker must not block the page.
        act_on_each(
            self,
            request,
            runs,
            lambda run: actions.cancel_run(run, by=by, wait_seconds=0),
            done=_("Cancelled, or asked to stop"),
        )

    @admin.action(description=_("Retry"), permissions=["operate"])
    def retry(self, request: HttpRequest, runs: QuerySet[Run]) -> None:
        assert request.user.is_authenticated
        by = request.user
        act_on_each(
            self,
            request,
            runs.select_related("project", "recipe"),
            lambda run: actions.retry_run(run, by=by),
            done=_("Queued again"),
        )


@admin.register(RunEvent)
class RunEventAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "created_at",
        "of_run",
        "kind",
        "from_status",
        "to_status",
        "attempt",
        "actor",
        "worker",
        "reason",
    )
    list_select_related = ("actor", "worker")
    list_filter = ("kind", "to_status")
    ordering = ("-id",)
    id_lookups: ClassVar[dict[str, str]] = {
        "run_": "run__id__startswith",
        "worker_": "worker__id__startswith",
    }
    search_help_text = _("Search by run or worker ID or the start of it.")

    @admin.display(description=_("run"))
    def of_run(self, event: RunEvent) -> SafeString:
        return run_link(event.run_id)
