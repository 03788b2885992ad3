"""A run: one training, from the queue to its end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.contrib.postgres.fields import ArrayField
from django.db import models, transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts.permissions import sees_everything
from accounts.tokens import revoke_tokens
from runs.models.event import EventKind, RunEvent
from runs.models.worker import Worker
from runs.status import ACTIVE, TERMINAL, InvalidTransition, RunStatus, sources
from trainhub.ids import PublicIdField
from trainhub.json_field import JSONField

if TYPE_CHECKING:
    from artifacts.models import ArtifactQuerySet


# In a fixed order: the order of a set would make another migration every time.
ENDS = sorted(status.value for status in TERMINAL)


class StopKind(models.TextChoices):
    CANCEL = "cancel", _("Cancel")


class LeaseLost(Exception):
    """The run is no longer this worker's: ended, or taken over by another."""


class RunQuerySet(models.QuerySet["Run"]):
    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> RunQuerySet:
        """What ``user`` may see. Every member sees every run until there are teams."""
        return self.all() if sees_everything(user) else self.none()

    def queued(self) -> RunQuerySet:
        return self.filter(status=RunStatus.QUEUED)

    def running(self) -> RunQuerySet:
        return self.filter(status=RunStatus.RUNNING)

    def active(self) -> RunQuerySet:
        return self.filter(status__in=ACTIVE)

    def unclaimed(self) -> RunQuerySet:
        """What waits for a worker: queued, resumed, or left by a worker that died or stopped."""
        return self.active().filter(worker=None).exclude(recipe=None)

    def external(self) -> RunQuerySet:
        """Scripts started elsewhere, which report by themselves."""
        return self.filter(recipe=None)

    def silent_for(self, seconds: float) -> RunQuerySet:
        """Scripts started elsewhere that say they run and have reported nothing for so long."""
        heard_before = Now() - timedelta(seconds=seconds)
        return self.external().running().filter(reported_at__lt=heard_before)

    def heard_of_again(self) -> RunQuerySet:
        """Scripts given up for lost that have reported something since."""
        return self.external().filter(status=RunStatus.FAILED, reported_at__gte=F("lost_at"))

    def kept(self) -> RunQuerySet:
        """All but the trash."""
        return self.filter(deleted_at=None)

    def in_queue_order(self) -> RunQuerySet:
        return self.order_by("-priority", "queued_at", "id")

    def held_by(self, worker: Worker) -> RunQuerySet:
        """The runs of this very incarnation of ``worker``: a fenced-out predecessor sees none."""
        return self.running().filter(worker=worker, worker__incarnation=worker.incarnation)

    def lost(self) -> RunQuerySet:
        """Running, but under a worker whose lease has run out (by the database's clock)."""
        lease = timedelta(seconds=settings.WORKER_LEASE_SECONDS)
        return self.running().filter(worker__last_heartbeat__lt=Now() - lease)

    def lock(self, pk: str) -> Run:
        """The run, its row locked until the transaction ends. Raises Run.DoesNotExist."""
        return (
            self.select_related("recipe", "project", "worker")
            .select_for_update(no_key=True, of=("self",))
            .get(pk=pk)
        )

    def lock_held_by(self, worker: Worker, pk: str) -> Run:
        """As ``lock``, if it is still ``worker``'s. Raises LeaseLost."""
        try:
            return self.held_by(worker).lock(pk)
        except Run.DoesNotExist:
            raise LeaseLost(pk) from None


class Run(models.Model):
    id = PublicIdField(prefix="run")
    project = models.ForeignKey(
        "projects.Project", models.CASCADE, related_name="runs", verbose_name=_("project")
    )
    project_version = models.PositiveIntegerField(_("project version"))
    name = models.CharField(_("name"), max_length=200)
    # None: a script started elsewhere reports it; no executor of ours carries it out.
    recipe = models.ForeignKey(
        "runs.Recipe", models.PROTECT, null=True, blank=True, verbose_name=_("recipe")
    )
    model = models.CharField(_("model"), max_length=200, blank=True)
    dataset = models.CharField(_("dataset"), max_length=1000, blank=True)
    # The recipe's defaults overlaid by the project's and the request's, as they were then.
    hyperparameters = JSONField(_("hyperparameters"), default=dict)
    gpu_type = models.CharField(_("GPU type"), max_length=64, blank=True)
    gpu_count = models.PositiveSmallIntegerField(_("GPUs"), default=0)
    priority = models.SmallIntegerField(_("priority"), default=0)
    # Key -> text, as MLflow's clients set them.
    tags = JSONField(_("tags"), default=dict, blank=True)

    status = models.CharField(
        _("status"), max_length=16, choices=RunStatus, default=RunStatus.QUEUED
    )
    status_reason = models.TextField(_("reason"), blank=True)
    exit_code = models.IntegerField(_("exit code"), null=True, blank=True)
    # Stopping is a request; the status changes when the work has stopped.
    stop_kind = models.CharField(_("stop"), max_length=16, choices=StopKind, blank=True)
    stop_requested_at = models.DateTimeField(_("stop requested at"), null=True, blank=True)

    # What lists show; kept here so that they read this row and nothing else.
    progress = models.FloatField(_("progress"), default=0.0)
    step = models.BigIntegerField(_("step"), default=0)
    total_steps = models.BigIntegerField(_("total steps"), null=True, blank=True)
    metrics = JSONField(_("metrics"), default=dict)  # key -> latest value; "NaN" as text
    gpu_utilization = models.FloatField(_("GPU utilization"), null=True, blank=True)
    log_count = models.BigIntegerField(_("log lines"), default=0)

    resumed_from = models.ForeignKey(
        "artifacts.Artifact",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="resumed_runs",
        verbose_name=_("resumed from"),
    )
    start_step = models.BigIntegerField(_("first step after"), default=0)

    attempt = models.PositiveSmallIntegerField(_("attempt"), default=1)
    restart_count = models.PositiveSmallIntegerField(_("restarts"), default=0)
    max_restarts = models.PositiveSmallIntegerField(_("restarts allowed"), default=3)
    worker = models.ForeignKey(
        Worker,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="runs",
        verbose_name=_("worker"),
    )
    # Digests of the tokens that the run's script reports with, revoked at its end.
    script_tokens = ArrayField(
        models.CharField(max_length=200), default=list, blank=True, editable=False
    )
    # The executor's own notes (what it has read of a process's output, …); nobody else reads them.
    executor_state = models.JSONField(default=dict, editable=False)

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
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)
    # When the training itself was last heard of: a metric, a line, a sign of life.
    reported_at = models.DateTimeField(_("last heard of"), null=True, blank=True)
    # When a script started elsewhere was given up for lost; None once it is heard of again.
    lost_at = models.DateTimeField(_("lost at"), null=True, blank=True)
    # In the trash: not listed, and restorable.
    deleted_at = models.DateTimeField(_("deleted at"), null=True, blank=True)

    objects = RunQuerySet.as_manager()

    # What a clone takes over (resume, retry).
    CONFIGURATION: ClassVar[tuple[str, ...]] = (
        "recipe",
        "model",
        "dataset",
        "hyperparameters",
        "gpu_type",
        "gpu_count",
        "priority",
        "max_restarts",
    )

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        ordering = ("-created_at", "id")
        indexes = (
            # The runs of a project, newest first.
            models.Index(fields=["project", "-created_at", "id"], name="run_of_project"),
            # The same in MLflow's order, the latest start first, and without the trash.
            models.Index(
                "project",
                models.F("started_at").desc(nulls_last=True),
                "id",
                name="run_of_project_by_start",
                condition=models.Q(deleted_at=None),
            ),
            # Every run, newest first: the admin's list.
            models.Index(fields=["-created_at", "id"], name="run_newest_first"),
            # The queue: runs/scheduling.py claims from it.
            models.Index(
                fields=["-priority", "queued_at", "id"],
                name="run_queue",
                condition=models.Q(status=RunStatus.QUEUED),
            ),
            # Scripts started elsewhere: the worker's watch over who has fallen silent. Not by
            # reported_at: it would change with every report.
            models.Index(
                fields=["id"],
                name="run_external",
                condition=models.Q(recipe=None, status=RunStatus.RUNNING)
                | models.Q(lost_at__isnull=False),
            ),
            # Active runs by worker: every tick, the reaper, the count of GPUs in use.
            models.Index(
                fields=["worker"],
                name="run_running",
                condition=models.Q(status=RunStatus.RUNNING),
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
    def is_external(self) -> bool:
        return self.recipe_id is None

    @property
    def silent_since(self) -> datetime | None:
        """When a script started elsewhere was last heard of, if that is longer ago than usual."""
        if not self.is_external or self.status != RunStatus.RUNNING or self.reported_at is None:
            return None
        silence = timezone.now() - self.reported_at
        is_silent = silence.total_seconds() > settings.EXTERNAL_SILENT_SECONDS
        return self.reported_at if is_silent else None

    @property
    def is_stopping(self) -> bool:
        return self.stop_requested_at is not None and not self.is_terminal

    @property
    def resources(self) -> dict[str, Any]:
        return {"gpu_type": self.gpu_type, "gpu_count": self.gpu_count}

    def transition(
        self,
        to: RunStatus,
        *,
        reason: str = "",
        by: User | None = None,
        worker: Worker | None = None,
        kind: EventKind = EventKind.STATUS,
        **fields: Any,
    ) -> None:
        """The only writer of ``status``: check, update and event in one transaction, row locked.

        ``fields`` change in the same update; an end is dated now, unless they hold ``finished_at``.
        Raises InvalidTransition if the run, as it is in the database, cannot become ``to``: of two
        at once, one wins.
        """
        if to in TERMINAL:
            fields = {"finished_at": Now(), **fields, "worker": None, "script_tokens": []}
        elif worker is not None:
            fields.update(worker=worker)
        with transaction.atomic():
            before = Run.objects.lock(self.pk)
            if before.status not in sources(to, external=before.is_external):
                raise InvalidTransition(
                    _t("A run that is %(status)s cannot become %(to)s.")
                    % {"status": before.get_status_display(), "to": to.label}
                )
            if to in TERMINAL and before.script_tokens:
                revoke_tokens(before.script_tokens)
            Run.objects.filter(pk=self.pk).update(
                status=to, status_reason=reason, updated_at=Now(), **fields
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
        reason: str = "",
        by: User | None = None,
        worker: Worker | None = None,
        from_status: str = "",
        to_status: str = "",
    ) -> RunEvent:
        """Write down what happened to the run."""
        return RunEvent.objects.create(
            run=self,
            kind=kind,
            from_status=from_status,
            to_status=to_status,
            attempt=self.attempt,
            actor=by,
            worker=worker,
            reason=reason,
        )

    def change(self, **fields: Any) -> None:
        """Update ``fields`` alone, in the database and here. Never the status."""
        assert "status" not in fields
        Run.objects.filter(pk=self.pk).update(updated_at=Now(), **fields)
        for name, value in fields.items():
            setattr(self, name, value)

    def move_to_trash(self, *, by: User | None) -> None:
        """Out of every list, until it is restored; done twice, it is done once.

        Raises InvalidTransition for a run that a worker carries out, or will.
        """
        with transaction.atomic():
            current = Run.objects.lock(self.pk)
            if not (current.is_terminal or current.is_external):
                raise InvalidTransition(_t("The run is not over: cancel it before you delete it."))
            if current.deleted_at is None:
                current.change(deleted_at=timezone.now())
                current.note(EventKind.DELETED, by=by)
        self.refresh_from_db()

    def restore(self, *, by: User | None) -> None:
        """Back from the trash."""
        with transaction.atomic():
            current = Run.objects.lock(self.pk)
            if current.deleted_at is not None:
                current.change(deleted_at=None)
                current.note(EventKind.RESTORED, by=by)
        self.refresh_from_db()

    def claim(self, worker: Worker) -> None:
        """Make it ``worker``'s. Call with the row locked and the run unclaimed."""
        if self.status == RunStatus.QUEUED:
            self.transition(
                RunStatus.RUNNING,
                kind=EventKind.CLAIMED,
                worker=worker,
                started_at=Coalesce("started_at", Now()),
            )
        else:
            self.change(worker=worker)
            self.note(EventKind.CLAIMED, worker=worker)

    def request_stop(self, kind: StopKind, *, by: User | None) -> None:
        """Ask whoever works on the run to stop; asked twice, it is asked once.

        Raises InvalidTransition if the run is over.
        """
        with transaction.atomic():
            current = Run.objects.lock(self.pk)
            if current.is_terminal:
                raise InvalidTransition(
                    _t("The run is over (%(status)s): it cannot be stopped.")
                    % {"status": current.get_status_display()}
                )
            if current.stop_requested_at is None:
                Run.objects.filter(pk=self.pk).update(
                    stop_kind=kind, stop_requested_at=Now(), updated_at=Now()
                )
                current.note(EventKind.STOP_REQUESTED, reason=kind.value, by=by)
        self.refresh_from_db()

    def release(self, worker: Worker, *, next_attempt: bool) -> None:
        """Give the run back, in order, for any worker to take up; it costs no restart.

        ``next_attempt``: the present one has ended, the next claim begins another.
        Raises LeaseLost.
        """
        with transaction.atomic():
            current = Run.objects.lock_held_by(worker, self.pk)
            current.note(EventKind.RELEASED, worker=worker)
            current.change(worker=None, attempt=current.attempt + next_attempt)

    def recover(self, reason: str) -> None:
        """Go on after the death of its worker or process: attempt + 1, or failed at the limit.

        Call with the row locked. The executor starts the next attempt from the latest checkpoint.
        """
        if self.restart_count >= self.max_restarts:
            self.transition(
                RunStatus.FAILED,
                reason=_t("%(reason)s No restart is left (%(count)d of %(count)d).")
                % {"reason": reason, "count": self.max_restarts},
            )
            return
        self._next_attempt(None, reason)

    def take_over(self, worker: Worker, reason: str) -> None:
        """Make it ``worker``'s, free seat or not: its former one died while the run was to stop,
        and only what is left of the work has to be ended. Call with the row locked.
        """
        self._next_attempt(worker, reason)

    def _next_attempt(self, worker: Worker | None, reason: str) -> None:
        died_under = self.worker
        self.change(attempt=self.attempt + 1, restart_count=self.restart_count + 1, worker=worker)
        self.note(EventKind.RECOVERED, reason=reason, worker=died_under)

    def checkpoints(self) -> ArtifactQuerySet:
        """Its own checkpoints, the one to go on from first."""
        own: ArtifactQuerySet = self.artifacts.checkpoints()
        return own.latest_first()
