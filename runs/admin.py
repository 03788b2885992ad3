from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.postgres.forms import SimpleArrayField
from django.db.models import Count, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from projects.forms import JSONObjectField
from projects.hyperparameters import check_hyperparameters
from runs import actions
from runs.models import ExecutorName, GpuPool, MetricSeries, Recipe, Run, RunEvent, Worker
from runs.status import ACTIVE, TERMINAL, RunStatus
from trainhub.admin import QuickAdmin, ReadOnlyAdmin, ReadOnlyInline, act_on_each
from trainhub.exceptions import InvalidInput

if TYPE_CHECKING:
    RecipeModelForm = forms.ModelForm[Recipe]
else:
    RecipeModelForm = forms.ModelForm

ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def run_link(run_id: str) -> SafeString:
    return format_html(
        '<a href="{}">{}</a>', reverse("admin:runs_run_change", args=[run_id]), run_id
    )


# --- runs and what happened to them ----------------------------------------------------------


class LifeFilter(admin.SimpleListFilter):
    title = _("life")
    parameter_name = "life"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("active", _("queued or running")),
            ("stopping", _("stopping")),
            ("over", _("over")),
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
    """Runs are made and changed by their own actions alone: here, on the pages, by the API."""

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
    list_filter = (LifeFilter, "status", "recipe", "created_at")
    ordering = ("-created_at", "id")
    id_lookups: ClassVar[dict[str, str]] = {
        "run_": "pk__startswith",
        "proj_": "project__id__startswith",
        "worker_": "worker__id__startswith",
        "ckpt_": "artifacts__id__exact",
    }
    word_lookups = ("name__startswith",)
    search_help_text = _(
        "The id, or its beginning, of a run, project or worker; a checkpoint's id; the beginning "
        "of a name, quicker beside its project's id."
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
                    "progress",
                    "step",
                    "total_steps",
                    "metrics",
                    "gpu_utilization",
                    "elsewhere",
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
                    "priority",
                    "resumed_from",
                    "start_step",
                )
            },
        ),
        (
            _("Work"),
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
            _("Times"),
            {
                "fields": (
                    "created_by",
                    "created_at",
                    "queued_at",
                    "started_at",
                    "finished_at",
                    "updated_at",
                )
            },
        ),
    )
    readonly_fields = ("executor_state", "elsewhere")

    def view_on_site(self, run: Run) -> str:
        return reverse("dashboard:run", args=[run.project_id, run.pk])

    @admin.display(description=_("progress"))
    def progress_percent(self, run: Run) -> str:
        return f"{run.progress:.0%}"

    @admin.display(description=_("elsewhere"))
    def elsewhere(self, run: Run) -> SafeString:
        """Points and log lines are found by their run's page, not here by the million."""
        return format_html(
            '<a href="{}?run__id__exact={}">{}</a> · <a href="{}?run__id__exact={}">{}</a> · '
            '<a href="{}">{}</a>',
            reverse("admin:artifacts_artifact_changelist"),
            run.pk,
            _("artifacts"),
            reverse("admin:runs_metricseries_changelist"),
            run.pk,
            _("metrics"),
            self.view_on_site(run),
            _("curves and log"),
        )

    @admin.action(description=_("Cancel"), permissions=["operate"])
    def cancel(self, request: HttpRequest, runs: QuerySet[Run]) -> None:
        assert request.user.is_authenticated
        by = request.user
        # Asked of each without waiting: a worker that takes its time must not hold the page.
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
            runs.select_related("project", "recipe", "resumed_from"),
            lambda run: actions.retry_run(run, by=by),
            done=_("Queued once more"),
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
    search_help_text = _("The id, or its beginning, of a run or worker.")

    @admin.display(description=_("run"))
    def of_run(self, event: RunEvent) -> SafeString:
        return run_link(event.run_id)


@admin.register(MetricSeries)
class MetricSeriesAdmin(ReadOnlyAdmin):
    list_display = ("id", "of_run", "key", "count", "last_step", "last_value", "minimum", "maximum")
    ordering = ("-id",)
    id_lookups: ClassVar[dict[str, str]] = {"run_": "run__id__startswith"}
    search_help_text = _("A run's id or its beginning.")

    @admin.display(description=_("run"))
    def of_run(self, series: MetricSeries) -> SafeString:
        return run_link(series.run_id)


# --- what runs are run by --------------------------------------------------------------------


class CommandField(SimpleArrayField):
    """One argument a line, kept as it stands: arguments hold commas and spaces."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.Textarea(attrs={"rows": 6, "cols": 80, "spellcheck": "false"})
        argument = forms.CharField(max_length=1000, strip=False)
        super().__init__(argument, delimiter="\n", widget=widget, required=False, **kwargs)

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str):
            value = value.replace("\r\n", "\n").strip("\n")
        return super().to_python(value)


class RecipeForm(RecipeModelForm):
    command = CommandField(
        label=_("command"), help_text=Recipe._meta.get_field("command").help_text
    )
    environment = JSONObjectField(label=_("environment"))
    default_hyperparameters = JSONObjectField(label=_("default hyperparameters"))

    class Meta:
        model = Recipe
        fields = (
            "name",
            "description",
            "executor",
            "command",
            "environment",
            "default_hyperparameters",
            "gpu_type",
            "gpu_count",
            "stop_grace_seconds",
            "max_restarts",
            "is_default",
            "enabled",
        )

    def clean_environment(self) -> dict[str, Any]:
        environment: dict[str, Any] = self.cleaned_data["environment"]
        for name, value in environment.items():
            if not ENVIRONMENT_NAME.fullmatch(name) or "\x00" in str(value):
                raise forms.ValidationError(
                    _("%(name)s cannot be set in an environment."), params={"name": repr(name)}
                )
        return environment

    def clean_default_hyperparameters(self) -> dict[str, Any]:
        try:
            return check_hyperparameters(self.cleaned_data["default_hyperparameters"])
        except InvalidInput as error:
            raise forms.ValidationError(str(error.message), code=error.code) from error

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("executor") == ExecutorName.PROCESS and cleaned.get("command") == []:
            self.add_error("command", _("A process needs a command."))
        if cleaned.get("is_default"):
            other = Recipe.objects.filter(is_default=True).exclude(pk=self.instance.pk).first()
            if other is not None:
                message = _("%(name)s is the default: untick it there first.")
                self.add_error(
                    "is_default", forms.ValidationError(message, params={"name": other.pk})
                )
            if cleaned.get("enabled") is False:
                self.add_error("enabled", _("The default recipe must be enabled."))
        return cleaned


@admin.register(Recipe)
class RecipeAdmin(QuickAdmin):
    """Where commands are written: who may change a recipe may run any program on the workers."""

    form = RecipeForm
    list_display = (
        "name",
        "description",
        "executor",
        "gpu_type",
        "gpu_count",
        "is_default",
        "enabled",
    )
    list_filter = ("executor", "enabled")
    ordering = ("name",)
    word_lookups = ("name__icontains", "description__icontains")

    def get_readonly_fields(self, request: HttpRequest, obj: Recipe | None = None) -> Any:
        return ("name",) if obj is not None else ()  # the name is the key: runs refer to it

    def has_delete_permission(self, request: HttpRequest, obj: Recipe | None = None) -> bool:
        """One that runs were made from is history: disable it. Never several at once."""
        if obj is None or obj.pk is None:
            return False
        return super().has_delete_permission(request, obj) and not obj.run_set.exists()


@admin.register(GpuPool)
class GpuPoolAdmin(QuickAdmin):
    list_display = ("gpu_type", "capacity", "in_use")
    ordering = ("gpu_type",)
    word_lookups = ("gpu_type__icontains",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[GpuPool]:
        running = Run.objects.running().filter(gpu_type=OuterRef("pk"))
        used = running.order_by().values("gpu_type").annotate(used=Sum("gpu_count")).values("used")
        pools: QuerySet[GpuPool] = super().get_queryset(request)
        return pools.annotate(used=Coalesce(Subquery(used), 0))

    def get_readonly_fields(self, request: HttpRequest, obj: GpuPool | None = None) -> Any:
        return ("gpu_type",) if obj is not None else ()  # the type is the key

    @admin.display(description=_("in use"))
    def in_use(self, pool: Any) -> int:
        return int(pool.used)


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = (
        "name",
        "id",
        "host",
        "pid",
        "alive",
        "executors",
        "seats",
        "running_runs",
        "started_at",
        "last_heartbeat",
        "stopped_at",
    )
    ordering = ("-last_heartbeat", "id")
    id_lookups: ClassVar[dict[str, str]] = {"worker_": "pk__startswith"}
    word_lookups = ("name__icontains", "host__icontains")
    search_help_text = _("An id or its beginning, or words of name or host.")

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
