"""Logged models: what a training script calls a model while it is still part of a project's work.

Its files are a run's artifacts; registering one (artifacts/registry.py) gives it a name beyond the
project.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import models, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts.permissions import sees_everything
from artifacts.queries import ModelPoint, upsert_model_metrics
from artifacts.tagged import Tagged
from trainhub.exceptions import InvalidInput
from trainhub.json_field import JSONField


class ParamChanged(InvalidInput):
    code = "param_changed"


class LoggedModelStatus(models.TextChoices):
    PENDING = "PENDING", _("Pending")
    READY = "READY", _("Ready")
    FAILED = "FAILED", _("Failed")


def new_model_id() -> str:
    """An id in the form by which MLflow's clients tell a logged model from a registered one."""
    return f"m-{uuid.uuid4().hex}"


class LoggedModelQuerySet(models.QuerySet["LoggedModel"]):
    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> LoggedModelQuerySet:
        """What ``user`` may see. Every member sees every model until there are teams."""
        return self.all() if sees_everything(user) else self.none()

    def kept(self) -> LoggedModelQuerySet:
        """All but the deleted."""
        return self.filter(deleted_at=None)

    def record_metrics(self, run_id: str, points: Sequence[ModelPoint]) -> None:
        """What the run ``run_id`` measured of its models; sent twice, it counts once."""
        if points:
            upsert_model_metrics(run_id, points)


class LoggedModel(Tagged):
    id = models.CharField(
        primary_key=True,
        max_length=36,
        default=new_model_id,
        editable=False,
        db_collation="C",
    )
    project = models.ForeignKey(
        "projects.Project",
        models.CASCADE,
        related_name="logged_models",
        verbose_name=_("project"),
    )
    # Whose artifacts its files are; None: made outside any run.
    source_run = models.ForeignKey(
        "runs.Run",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="logged_models",
        verbose_name=_("run"),
    )
    name = models.CharField(_("name"), max_length=500)
    model_type = models.CharField(_("type"), max_length=500, blank=True)
    params = JSONField(_("parameters"), default=dict, blank=True)  # key -> text
    status = models.CharField(
        _("status"),
        max_length=8,
        choices=LoggedModelStatus,
        default=LoggedModelStatus.PENDING,
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("created by"),
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)
    deleted_at = models.DateTimeField(_("deleted at"), null=True, blank=True)

    objects = LoggedModelQuerySet.as_manager()

    class Meta:
        verbose_name = _("logged model")
        verbose_name_plural = _("logged models")
        ordering = ("-created_at", "id")
        constraints = (
            models.CheckConstraint(
                name="loggedmodel_status_known",
                condition=models.Q(status__in=LoggedModelStatus.values),
            ),
        )
        indexes = (
            # The logged models of an experiment, newest first: logged-models/search.
            models.Index(fields=["project", "-created_at", "id"], name="loggedmodel_of_project"),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"

    def finalize(self, status: LoggedModelStatus) -> None:
        """Say that its files are whole, or never will be."""
        LoggedModel.objects.filter(pk=self.pk).update(status=status, updated_at=Now())
        self.refresh_from_db()

    def discard(self) -> None:
        """Put it out of sight; its files stay where they are, and versions made of it work on."""
        LoggedModel.objects.kept().filter(pk=self.pk).update(deleted_at=Now())

    def log_params(self, params: dict[str, str]) -> None:
        """Add parameters. One that is there already keeps its value: raises ParamChanged for
        another."""
        with transaction.atomic():
            known = self._locked().params
            for key, value in params.items():
                if known.get(key, value) != value:
                    raise ParamChanged(
                        _t("The model's parameter %(key)s is %(value)s already.")
                        % {"key": key, "value": known[key]}
                    )
            self.params = {**known, **params}
            LoggedModel.objects.filter(pk=self.pk).update(params=self.params)


class LoggedModelMetric(models.Model):
    """The latest value of a metric that a run measured of a model, on a dataset if it says which.

    Every point is in the run's own series as well: see runs/models/metric.py.
    """

    model = models.ForeignKey(LoggedModel, models.CASCADE, related_name="metrics")
    run = models.ForeignKey("runs.Run", models.CASCADE, related_name="+")
    key = models.CharField(max_length=250)
    dataset_name = models.CharField(max_length=500, blank=True)
    dataset_digest = models.CharField(max_length=250, blank=True)
    value = models.FloatField()
    timestamp_ms = models.BigIntegerField()
    step = models.BigIntegerField()

    class Meta:
        ordering = ("key", "id")
        constraints = (
            models.UniqueConstraint(
                name="loggedmodelmetric_once",
                fields=["model", "run", "key", "dataset_name", "dataset_digest"],
            ),
        )

    def __str__(self) -> str:
        return f"{self.key} {self.value}"
