"""Hyperparameter sweeps and their trials, each of which is a run."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.grants import AnyUser
from accounts.permissions import script_run_of, sees_everything
from accounts.roles import Role
from core.choices import ContractChoices
from core.ids import PublicIdField
from core.json_field import JSONField
from core.message_field import MessageField
from core.text import MAX_KEY_LENGTH, MAX_NAME_LENGTH
from projects.models import Project
from runs.models import Run

NAME_RESERVE = 8  # characters of a run's name that its trial's number takes


class SweepStatus(ContractChoices):
    RUNNING = "进行中", _("In progress")
    PAUSED = "已暂停", _("Paused")
    COMPLETED = "已完成", _("Completed")
    CANCELLED = "已取消", _("Cancelled")


class Method(models.TextChoices):
    GRID = "grid", _("Grid")
    RANDOM = "random", _("Random")
    TPE = "tpe", _("TPE (Bayesian)")


class Pruning(models.TextChoices):
    NONE = "none", _("None")
    ASHA = "asha", _("ASHA (successive halving)")


class Goal(models.TextChoices):
    MINIMIZE = "minimize", _("Minimize")
    MAXIMIZE = "maximize", _("Maximize")


class ValueOf(models.TextChoices):
    """Which value of the metric a completed run counts with."""

    LAST = "last", _("Last")
    BEST = "best", _("Best")


class TrialState(models.TextChoices):
    """Optuna's states; a run that is cancelled is a failed trial."""

    RUNNING = "running", _("Running")
    COMPLETE = "complete", _("Complete")
    PRUNED = "pruned", _("Pruned")
    FAILED = "failed", _("Failed")


class SweepQuerySet(models.QuerySet["Sweep"]):
    def visible_to(self, user: AnyUser, *, role: Role = Role.VIEWER) -> SweepQuerySet:
        """Those of projects that ``user`` sees; scripts see none."""
        if sees_everything(user, role=role):
            return self.all()
        if script_run_of(user):
            return self.none()
        return self.filter(project__in=Project.objects.visible_to(user, role=role))

    def lock(self, pk: str) -> Sweep:
        """Raises DoesNotExist. Call inside a transaction."""
        return self.select_for_update(no_key=True).get(pk=pk)


class Sweep(models.Model):
    """A search for the hyperparameters with the best value of a metric.

    Workers advance it (sweeps/driving.py) while they hold the lock of its row.
    """

    id = PublicIdField(prefix="sweep")
    project = models.ForeignKey(
        "projects.Project", models.CASCADE, related_name="sweeps", db_index=False
    )
    name = models.CharField(_("name"), max_length=MAX_NAME_LENGTH - NAME_RESERVE)
    recipe = models.ForeignKey("runs.Recipe", models.PROTECT, related_name="+")
    # What else runs.actions.create_run takes for each run; absent: the defaults.
    configuration = JSONField(default=dict)
    # As sweeps/spaces.py has checked it.
    search_space = JSONField()
    method = models.CharField(_("method"), max_length=16, choices=Method)
    metric = models.CharField(_("metric"), max_length=MAX_KEY_LENGTH)
    goal = models.CharField(_("goal"), max_length=16, choices=Goal)
    value_of = models.CharField(max_length=16, choices=ValueOf, default=ValueOf.LAST)
    pruning = models.CharField(_("pruning"), max_length=16, choices=Pruning, default=Pruning.NONE)
    # Of ASHA: the step of the first rung, and how many trials of a rung go on: one in so many.
    min_steps = models.BigIntegerField(null=True)
    reduction_factor = models.PositiveSmallIntegerField(null=True)
    max_trials = models.PositiveIntegerField(_("max trials"))
    max_parallel = models.PositiveIntegerField(_("max parallel"))
    seed = models.BigIntegerField(_("seed"))

    status = models.CharField(
        _("status"), max_length=16, choices=SweepStatus, default=SweepStatus.RUNNING
    )
    # Why it is paused, if nobody has asked for that.
    status_reason = MessageField(_("reason"), blank=True)
    trial_count = models.PositiveIntegerField(_("trials"), default=0)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    cancelled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    # When it was last continued: failures before that are forgiven.
    continued_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(_("finished at"), null=True)

    objects = SweepQuerySet.as_manager()

    class Meta:
        verbose_name = _("sweep")
        verbose_name_plural = _("sweeps")
        ordering = ("-created_at", "id")
        indexes = (
            models.Index(fields=["project", "-created_at", "id"], name="sweep_of_project"),
            models.Index(
                fields=["id"],
                name="sweep_in_progress",
                condition=models.Q(status=SweepStatus.RUNNING),
            ),
        )
        constraints = (
            models.CheckConstraint(
                name="sweep_status_known", condition=models.Q(status__in=SweepStatus.values)
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def is_over(self) -> bool:
        return self.status in {SweepStatus.COMPLETED, SweepStatus.CANCELLED}

    @property
    def is_paused(self) -> bool:
        return self.status == SweepStatus.PAUSED

    @property
    def objective(self) -> dict[str, str]:
        """As the API tells it."""
        return {"metric": self.metric, "direction": self.goal, "value": self.value_of}

    @property
    def pruner(self) -> dict[str, Any]:
        """As the API tells it."""
        if self.pruning == Pruning.NONE:
            return {"method": self.pruning}
        return {
            "method": self.pruning,
            "min_steps": self.min_steps,
            "reduction_factor": self.reduction_factor,
        }

    @property
    def best_trial(self) -> SweepTrial | None:
        """The complete one with the best value, the earliest of equals."""
        order = "value" if self.goal == Goal.MINIMIZE else "-value"
        complete = self.trials.filter(state=TrialState.COMPLETE)
        return complete.select_related("run").order_by(order, "number").first()


class SweepTrial(models.Model):
    """A trial of Optuna's: the hyperparameters it suggested, and the run that tries them.

    The row and its run are created in one transaction. ``run`` is None once the run has been
    deleted: the trial's number and value stay.
    """

    id = models.BigAutoField(primary_key=True)
    sweep = models.ForeignKey(Sweep, models.CASCADE, related_name="trials", db_index=False)
    number = models.PositiveIntegerField()  # from 0, without gaps
    run = models.OneToOneField(Run, models.SET_NULL, null=True, related_name="sweep_trial")
    state = models.CharField(max_length=16, choices=TrialState, default=TrialState.RUNNING)
    params = JSONField(default=dict)
    # What the trial counts with; of a pruned one, its last intermediate value.
    value = models.FloatField(null=True)
    # [step, value] at the first report at or beyond each rung, in order; "NaN" as text.
    intermediate = JSONField(default=list)
    # Optuna's own notes of the trial ("system attributes").
    attributes = JSONField(default=dict)
    # The step of its next rung; None: none, or it is over.
    next_step = models.BigIntegerField(null=True)
    # Whether a worker has yet to ask its run to stop.
    is_stopping = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("trial of a sweep")
        verbose_name_plural = _("trials of sweeps")
        ordering = ("sweep", "number")
        constraints = (
            models.UniqueConstraint(name="sweeptrial_number", fields=["sweep", "number"]),
        )
        indexes = (
            models.Index(
                fields=["sweep", "run"],
                name="sweeptrial_open",
                condition=models.Q(state=TrialState.RUNNING),
            ),
            models.Index(
                fields=["id"], name="sweeptrial_to_stop", condition=models.Q(is_stopping=True)
            ),
        )

    def __str__(self) -> str:
        return f"{self.sweep_id} {self.number}"
