"""A run: one training, from the queue to its end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import HashIndex
from django.db import models, transaction
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts.tokens import revoke_tokens
from core.exceptions import InvalidInput
from core.ids import MAX_LENGTH, PublicIdField
from core.json_field import JSONField
from core.message_field import MessageField
from core.messages import Message, Text
from core.text import MAX_NAME_LENGTH
from runs.models.claim_queries import claim_runs
from runs.models.event import ARRIVALS, EventKind, RunEvent
from runs.models.failure import FailureKind
from runs.models.gpu_usage import count_hold
from runs.models.held_time_queries import count_held_time
from runs.models.recipe import RecipeKind
from runs.models.run_queryset import PARENT_TAG, RunQuerySet
from runs.models.worker import Worker
from runs.signals import run_noted, runs_deleting
from runs.silence import is_at_work, no_step_since, silent_since
from runs.status import TERMINAL, InvalidTransition, RunStatus, sources

# Sorted, because the order of a set would change the migration every time.
ENDS = sorted(status.value for status in TERMINAL)


# Fields whose change makes the rows of a run's values those of an earlier state. A run in the trash
# has no such rows.
INDEXED = frozenset({"hyperparameters", "metrics", "deleted_at"})

MAX_GPUS = 10_000
MIN_PRIORITY, MAX_PRIORITY = -100, 100
MAX_ATTEMPT = 32_767  # the column's limit
MAX_DATASET_LENGTH = 1000


class StopKind(models.TextChoices):
    CANCEL = "cancel", _("Cancel")
    STALLED = "stalled", _("Stalled")
    PREEMPT = "preempt", _("Preempt")
    PAUSE = "pause", _("Pause")

    def overrides(self, other: str) -> bool:
        """Whether a request for this stop replaces one for the ``other``; "": there is none."""
        return _STOP_RANKS[self] > _STOP_RANKS[other]


# What people ask for goes before what TrainHub does by itself.
_STOP_RANKS: dict[str, int] = {
    "": 0,
    StopKind.STALLED: 1,
    StopKind.PREEMPT: 1,
    StopKind.PAUSE: 2,
    StopKind.CANCEL: 3,
}


class Run(models.Model):
    id = PublicIdField(prefix="run")
    project = models.ForeignKey(
        "projects.Project", models.CASCADE, related_name="runs", verbose_name=_("project")
    )
    project_version = models.PositiveIntegerField(_("project version"))
    name = models.CharField(_("name"), max_length=MAX_NAME_LENGTH)
    # None for an unmanaged run.
    recipe = models.ForeignKey(
        "runs.Recipe", models.PROTECT, null=True, blank=True, verbose_name=_("recipe")
    )
    model = models.CharField(_("model"), max_length=MAX_NAME_LENGTH, blank=True)
    dataset = models.CharField(_("dataset"), max_length=MAX_DATASET_LENGTH, blank=True)
    # The recipe's defaults, overridden by the project's and the request's when it was created, and
    # what its script has reported since.
    hyperparameters = JSONField(_("hyperparameters"), default=dict)
    # Those it was created with, once the script of its recipe has reported others.
    requested_hyperparameters = JSONField(null=True, editable=False)
    gpu_type = models.CharField(_("GPU type"), max_length=64, blank=True)
    gpu_count = models.PositiveSmallIntegerField(_("GPUs"), default=0)
    # The name of the GpuPool that its GPUs count against; empty: none.
    pool = models.CharField(
        _("GPU pool"), max_length=64, default="", db_default="", blank=True, editable=False
    )
    # Of its recipe when it was created.
    kind = models.CharField(
        _("kind"),
        max_length=16,
        choices=RecipeKind,
        default=RecipeKind.TRAINING,
        db_default=RecipeKind.TRAINING.value,
        editable=False,
    )
    preemptible = models.BooleanField(_("preemptible"), default=False, db_default=False)
    # How long it will hold its GPUs, by earlier runs like it, in seconds; None: there are none.
    expected_seconds = models.FloatField(null=True, editable=False)
    # Machines, each with its share of the GPUs.
    nodes = models.PositiveSmallIntegerField(_("nodes"), default=1, db_default=1)
    # How long its cluster runs it at a time; None: the cluster's own limit.
    time_limit_seconds = models.PositiveIntegerField(_("time limit (s)"), null=True, blank=True)
    priority = models.SmallIntegerField(_("priority"), default=0)
    # Key -> text, as MLflow clients set them.
    tags = JSONField(_("tags"), default=dict, blank=True)

    status = models.CharField(
        _("status"), max_length=16, choices=RunStatus, default=RunStatus.QUEUED
    )
    status_reason = MessageField(_("reason"), blank=True)
    # Blank unless the run has failed.
    failure_kind = models.CharField(
        _("kind of failure"),
        max_length=16,
        choices=FailureKind,
        default="",
        db_default="",
        blank=True,
    )
    exit_code = models.IntegerField(_("exit code"), null=True, blank=True)
    # Stopping is a request; the status changes when the work has stopped.
    stop_kind = models.CharField(_("stop"), max_length=16, choices=StopKind, blank=True)
    stop_requested_at = models.DateTimeField(_("stop requested at"), null=True, blank=True)

    # Shown in lists; denormalized so that lists read only this row.
    progress = models.FloatField(_("progress"), default=0.0)
    step = models.BigIntegerField(_("step"), default=0)
    total_steps = models.BigIntegerField(_("total steps"), null=True, blank=True)
    metrics = JSONField(_("metrics"), default=dict)  # key -> latest value; "NaN" as text
    gpu_utilization = models.FloatField(_("GPU utilization"), null=True, blank=True)
    log_count = models.BigIntegerField(_("log lines"), default=0)

    # A checkpoint's id. Artifacts belong to an app above this one, which adds the foreign key
    # (artifacts/migrations/0001_initial.py).
    resumed_from_id = models.CharField(
        _("resumed from"),
        max_length=MAX_LENGTH,
        db_collation="C",
        db_index=True,
        null=True,
        blank=True,
    )
    start_step = models.BigIntegerField(_("start step"), default=0)

    attempt = models.PositiveSmallIntegerField(_("attempt"), default=1)
    restart_count = models.PositiveSmallIntegerField(_("restarts"), default=0)
    max_restarts = models.PositiveSmallIntegerField(_("max restarts"), default=3)
    # The step of the newest checkpoint when restarts were last counted: only one beyond it refills
    # them.
    restart_step = models.BigIntegerField(default=0, db_default=0, editable=False)
    # The step that the current attempt was set back to as it began; None if it goes on from where
    # the run is, or has not begun.
    attempt_start_step = models.BigIntegerField(null=True, editable=False)
    # The GPUs of its worker's host that are assigned to it, as the variable for its process names
    # them; empty while no worker holds it.
    devices = ArrayField(
        models.CharField(max_length=64),
        verbose_name=_("devices"),
        default=list,
        db_default=[],
        blank=True,
        editable=False,
    )
    worker = models.ForeignKey(
        Worker,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="runs",
        verbose_name=_("worker"),
    )
    # Digests of the tokens that the run's script reports with; revoked when the run ends.
    script_tokens = ArrayField(
        models.CharField(max_length=200), default=list, blank=True, editable=False
    )
    # For the executor only; the schema is in execution/executor_state.py.
    executor_state = JSONField(default=dict, editable=False)

    # For how long workers have held the run, as its events tell, for lists: of holds that are over,
    # in seconds (None: no worker has ever held it), and since when one holds it.
    held_seconds = models.FloatField(null=True, editable=False)
    held_since = models.DateTimeField(null=True, editable=False)

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("created by"),
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    queued_at = models.DateTimeField(_("queued at"), null=True, blank=True)
    # Of a run that waits in the queue of its cluster, as the cluster estimates it.
    estimated_start = models.DateTimeField(
        _("estimated start"), null=True, blank=True, editable=False
    )
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)
    # When a worker started the current attempt; None before that.
    attempt_started_at = models.DateTimeField(_("attempt started at"), null=True, blank=True)
    # When the training last reported anything: a metric, a log line, a param.
    reported_at = models.DateTimeField(_("last reported at"), null=True, blank=True)
    # When its step last rose.
    stepped_at = models.DateTimeField(_("last step at"), null=True, blank=True)
    # When an unmanaged run was marked as lost; None once it has reported again.
    lost_at = models.DateTimeField(_("lost at"), null=True, blank=True)
    # In the trash: not listed, and restorable.
    deleted_at = models.DateTimeField(_("deleted at"), null=True, blank=True)
    # Put away: the table of its project shows it only if asked to; the API's lists are unchanged.
    archived_at = models.DateTimeField(_("archived at"), null=True, blank=True)
    # Keeps files of what belongs to no run: see runs/unmanaged.py. Listed nowhere.
    is_hidden = models.BooleanField(default=False, db_default=False, editable=False)
    # In the trash because its project was deleted: see runs/trash.py.
    deleted_with_project = models.BooleanField(default=False, db_default=False, editable=False)
    # The rows of its values, by which lists find and sort it, are those of its hyperparameters and
    # series: see metrics/run_index.py. Whatever changes these sets it to False.
    is_indexed = models.BooleanField(default=False, db_default=False, editable=False)
    # It is over, and it is written down where its time went: see goodput/accounting.py.
    is_accounted = models.BooleanField(default=False, db_default=False, editable=False)

    objects = RunQuerySet.as_manager()

    # Copied to a clone (resume, retry).
    CONFIGURATION: ClassVar[tuple[str, ...]] = (
        "recipe",
        "model",
        "dataset",
        "hyperparameters",
        "gpu_type",
        "gpu_count",
        "nodes",
        "time_limit_seconds",
        "priority",
        "preemptible",
        "max_restarts",
    )

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        ordering = ("-created_at", "id")
        indexes = (
            # The runs of a project that are listed, newest first, and their number.
            models.Index(
                fields=["project", "-created_at", "id"],
                name="run_of_project",
                condition=models.Q(is_hidden=False, deleted_at=None),
                include=["is_indexed", "archived_at"],
            ),
            # The same in MLflow's order, latest start first.
            models.Index(
                "project",
                models.F("started_at").desc(nulls_last=True),
                "id",
                name="run_of_project_by_start",
                condition=models.Q(is_hidden=False, deleted_at=None),
            ),
            # How many of them are not archived: the entries of a project take little space.
            models.Index(
                fields=["project"],
                name="run_unarchived",
                condition=models.Q(is_hidden=False, deleted_at=None, archived_at=None),
            ),
            # The runs that are found by their own rows and series; and those of them that a worker
            # can index.
            models.Index(
                fields=["project", "id"],
                name="run_not_indexed",
                condition=models.Q(is_indexed=False, is_hidden=False),
            ),
            models.Index(
                fields=["id"],
                name="run_to_index",
                condition=models.Q(is_indexed=False, is_hidden=False, finished_at__isnull=False),
            ),
            # The runs that are over and of which it is not written down where their time went.
            models.Index(
                fields=["id"],
                name="run_to_account",
                condition=models.Q(is_accounted=False, is_hidden=False, finished_at__isnull=False),
            ),
            # Every run, newest first: the admin's list.
            models.Index(fields=["-created_at", "id"], name="run_newest_first"),
            # What has ended lately: runs that failed since yesterday, GPU-hours.
            models.Index(
                fields=["-finished_at", "id"],
                name="run_newest_end",
                condition=models.Q(finished_at__isnull=False),
            ),
            # The queue, as pages show it.
            models.Index(
                fields=["-priority", "queued_at", "id"],
                name="run_queue",
                condition=models.Q(status=RunStatus.QUEUED),
            ),
            # The queue of each pool by project: execution/scheduling claims from it, by the same
            # expression. No other index has this order, so none is taken for it by mistake.
            models.Index(
                models.F("pool"),
                models.F("priority") * -1,
                models.F("project"),
                models.F("queued_at"),
                models.F("id"),
                name="run_queue_of_pool",
                condition=models.Q(status=RunStatus.QUEUED, worker=None),
            ),
            # Unmanaged runs: workers look for those that stopped reporting. Without reported_at,
            # which would update the index with every report.
            models.Index(
                fields=["id"],
                name="run_unmanaged",
                condition=models.Q(recipe=None, status=RunStatus.RUNNING)
                | models.Q(lost_at__isnull=False),
            ),
            # The runs that are nested in a run, as MLflow's clients do. Hashed, as a tag may be of
            # any length.
            HashIndex(
                KeyTextTransform(PARENT_TAG, "tags"),
                name="run_nested_in",
                condition=models.Q(tags__has_key=PARENT_TAG),
            ),
            # Active runs by worker: every tick, the reaper, the count of GPUs in use.
            models.Index(
                fields=["worker"],
                name="run_running",
                condition=models.Q(status=RunStatus.RUNNING),
            ),
            # Those that wait in the queue of their cluster.
            models.Index(
                fields=["worker"],
                name="run_submitted",
                condition=models.Q(status=RunStatus.QUEUED, worker__isnull=False),
            ),
        )
        constraints = (
            models.CheckConstraint(
                name="run_status_known", condition=models.Q(status__in=RunStatus.values)
            ),
            models.CheckConstraint(
                name="run_finished_iff_terminal",
                condition=models.Q(status__in=ENDS, finished_at__isnull=False)
                | (~models.Q(status__in=ENDS) & models.Q(finished_at__isnull=True)),
            ),
            models.CheckConstraint(
                name="run_progress_is_a_share",
                condition=models.Q(progress__gte=0, progress__lte=1),
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def is_unmanaged(self) -> bool:
        return self.recipe_id is None

    @property
    def is_paused(self) -> bool:
        return self.status == RunStatus.PAUSED

    @property
    def is_held(self) -> bool:
        """Whether a worker has claimed it."""
        return self.worker_id is not None

    @property
    def has_priority(self) -> bool:
        """Whether its priority has an effect: it waits to be claimed, for the first time or to go
        on. An interrupted run goes before all others, and a cluster has priorities of its own."""
        return self.status == RunStatus.QUEUED and not (self.is_unmanaged or self.is_held)

    @property
    def configured_hyperparameters(self) -> dict[str, Any]:
        """What its script is given, and a clone of it: without what scripts have reported, which is
        text (MLflow's params), unless it is all there is, as of an unmanaged run."""
        requested: dict[str, Any] | None = self.requested_hyperparameters
        return self.hyperparameters if requested is None else requested

    @property
    def silent_since(self) -> datetime | None:
        """See runs.silence."""
        if self._is_at_work:
            return silent_since(self.reported_at, self.attempt_started_at)
        return None

    @property
    def no_step_since(self) -> datetime | None:
        """See runs.silence."""
        if self._is_at_work:
            return no_step_since(self.stepped_at, self.attempt_started_at)
        return None

    @property
    def _is_at_work(self) -> bool:
        return is_at_work(self.status, self.recipe_id, self.attempt_started_at)

    @property
    def is_stopping(self) -> bool:
        return self.stop_requested_at is not None and not self.is_terminal

    @property
    def resources(self) -> dict[str, Any]:
        return {"gpu_type": self.gpu_type, "gpu_count": self.gpu_count, "nodes": self.nodes}

    def transition(
        self,
        to: RunStatus,
        *,
        reason: Text = "",
        by: User | None = None,
        worker: Worker | None = None,
        kind: EventKind = EventKind.STATUS,
        failure_kind: str = "",
        **fields: Any,
    ) -> None:
        """The only writer of ``status``, but for claim_runs: check, update and event in one
        transaction, row locked.

        ``fields`` change in the same update; a run that ends gets ``finished_at`` = now unless they
        set it. ``failure_kind``: the FailureKind of a run that fails. Raises InvalidTransition if
        the run in the database cannot become ``to``, so one of two concurrent transitions wins.
        """
        if to in TERMINAL:
            ended: dict[str, Any] = {"worker": None, "script_tokens": [], "devices": []}
            ended["estimated_start"] = None
            fields = {"finished_at": Now(), **fields, **ended}
        elif worker is not None:
            fields.update(worker=worker)
        with transaction.atomic():
            before = Run.objects.lock(self.pk)
            if before.status not in sources(to, unmanaged=before.is_unmanaged):
                raise InvalidTransition(
                    _t("A run that is %(status)s cannot become %(to)s.")
                    % {"status": before.get_status_display(), "to": to.label}
                )
            if to in TERMINAL and before.script_tokens:
                revoke_tokens(before.script_tokens)
            Run.objects.filter(pk=self.pk).update(
                status=to,
                status_reason=reason,
                failure_kind=failure_kind if to == RunStatus.FAILED else "",
                is_accounted=False,
                updated_at=Now(),
                **fields,
            )
            self.note(
                kind,
                from_status=before.status,
                to_status=to,
                reason=reason,
                by=by,
                worker=worker or before.worker,
            )
        self.refresh_from_db()

    def note(
        self,
        kind: EventKind,
        *,
        reason: Text = "",
        by: User | None = None,
        worker: Worker | None = None,
        from_status: str = "",
        to_status: str = "",
    ) -> RunEvent:
        """Record an event of the run."""
        event = RunEvent.objects.create(
            run=self,
            kind=kind,
            from_status=from_status,
            to_status=to_status,
            attempt=self.attempt,
            actor=by,
            worker=worker,
            reason=reason,
        )
        if event.changes_hold and not self.is_unmanaged:
            if self.gpu_count and kind not in ARRIVALS:
                count_hold(self.pk)
            count_held_time(self.pk)
        run_noted.send(sender=Run, run=self, event=event)
        return event

    def change(self, **fields: Any) -> None:
        """Update only ``fields``, in the database and on this object. Never the status.

        The value of an expression, such as Now(), is read when it is first used.
        """
        assert "status" not in fields
        if not fields.keys().isdisjoint(INDEXED):
            fields["is_indexed"] = False
        Run.objects.filter(pk=self.pk).update(updated_at=Now(), **fields)
        for name, value in fields.items():
            if hasattr(value, "resolve_expression"):
                self.__dict__.pop(name, None)  # a deferred field
            else:
                setattr(self, name, value)

    def set_priority(self, priority: int, *, by: User | None) -> None:
        """Move the run up or down the queue. Does nothing if it has this priority already.

        Raises InvalidTransition if it waits no longer, InvalidInput for a priority out of range.
        """
        if not MIN_PRIORITY <= priority <= MAX_PRIORITY:
            raise InvalidInput(
                _t("A priority is between %(low)d and %(high)d.")
                % {"low": MIN_PRIORITY, "high": MAX_PRIORITY},
                attr="priority",
            )
        with transaction.atomic():
            current = Run.objects.lock(self.pk)
            if not current.has_priority:
                in_cluster = current.status == RunStatus.QUEUED and current.is_held
                reason = (
                    _t("%(run)s waits in the queue of its cluster, which has its own priorities.")
                    if in_cluster
                    else _t(
                        "%(run)s does not wait in the queue any more: its priority has no effect."
                    )
                )
                raise InvalidTransition(reason % {"run": current.name})
            if current.priority != priority:
                change = Message("%(before)d → %(after)d", before=current.priority, after=priority)
                current.change(priority=priority)
                current.note(EventKind.PRIORITY_CHANGED, reason=change, by=by)
        self.refresh_from_db()

    def move_to_trash(self, *, by: User | None) -> None:
        """Hide the run from every list until it is restored. Idempotent.

        Raises InvalidTransition for a run that a worker executes or will execute, and whatever
        receivers of runs_deleting raise.
        """
        with transaction.atomic():
            runs_deleting.send(Run, runs=Run.objects.kept().filter(pk=self.pk))
            current = Run.objects.lock(self.pk)
            if not (current.is_terminal or current.is_unmanaged):
                raise InvalidTransition(_t("The run has not ended yet: cancel it before deleting."))
            if current.deleted_at is None:
                current.change(deleted_at=timezone.now())
                current.note(EventKind.DELETED, by=by)
        self.refresh_from_db()

    def restore(self, *, by: User | None) -> None:
        """Take the run out of the trash. Idempotent."""
        with transaction.atomic():
            current = Run.objects.lock(self.pk)
            if current.deleted_at is not None:
                current.change(deleted_at=None, deleted_with_project=False)
                current.note(EventKind.RESTORED, by=by)
        self.refresh_from_db()

    def archive(self, *, by: User | None) -> None:
        """Put the run away. Idempotent. Raises InvalidTransition for a run that has not ended."""
        with transaction.atomic():
            current = Run.objects.lock(self.pk)
            if not current.is_terminal:
                raise InvalidTransition(
                    _t("The run has not ended yet: cancel it before archiving.")
                )
            if current.archived_at is None:
                current.change(archived_at=timezone.now())
                current.note(EventKind.ARCHIVED, by=by)
        self.refresh_from_db()

    def unarchive(self, *, by: User | None) -> None:
        """List the run again. Idempotent."""
        with transaction.atomic():
            current = Run.objects.lock(self.pk)
            if current.archived_at is not None:
                current.change(archived_at=None)
                current.note(EventKind.UNARCHIVED, by=by)
        self.refresh_from_db()

    def claim(self, worker: Worker, devices: Sequence[str] = ()) -> None:
        """Assign the run to ``worker``, and ``devices`` of its host to the run. Call with the row
        locked and the run unclaimed."""
        claim_runs(worker, {self.pk: devices})
        self.refresh_from_db()

    def request_stop(self, kind: StopKind, *, by: User | None, reason: Text = "") -> None:
        """Request that the run stop. Idempotent; see StopKind.overrides. ``reason``: of a stop that
        nobody asked for.

        Raises InvalidTransition if the run has ended.
        """
        with transaction.atomic():
            current = Run.objects.lock(self.pk)
            if current.is_terminal:
                raise InvalidTransition(
                    _t("The run has ended (%(status)s): it cannot be stopped.")
                    % {"status": current.get_status_display()}
                )
            if kind.overrides(current.stop_kind):
                current.change(stop_kind=kind, stop_requested_at=Now())
                current.note(EventKind.STOP_REQUESTED, reason=reason or kind.value, by=by)
        self.refresh_from_db()
