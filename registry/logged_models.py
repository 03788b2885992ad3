"""Logged models: models logged by a training script, scoped to a project.

Their files are artifacts of a run. Registering one (registry/models.py) gives it a global name.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any, Final

from django.conf import settings
from django.db import models, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts.grants import AnyUser
from accounts.permissions import script_run_of, sees_everything
from accounts.roles import Role
from artifacts.queries import lock_promotions
from core.exceptions import DomainError, InvalidInput
from core.json_field import JSONField
from core.messages import Message
from core.text import MAX_KEY_LENGTH
from projects.models import Project
from registry.queries import ModelPoint, upsert_model_metrics
from registry.tags import TagsMixin
from runs.models import Run

VERSIONS_TAG: Final = "mlflow.modelVersions"
FILES_FOLDER: Final = "models"  # among the files of a run, with a folder for each model


class ParamChanged(InvalidInput):
    code = "param_changed"


class ModelReleased(DomainError):
    """A registered version of it is released."""

    code = "model_released"


def kept_text(name: str, number: int) -> Message:
    """Why what the released version ``number`` of the model ``name`` is made of is not deleted."""
    return Message(
        "Version %(number)d of the model %(name)s is released: what it is made of cannot be "
        "deleted until it is in another stage, such as Archived, without the alias released.",
        number=number,
        name=name,
    )


class LoggedModelStatus(models.TextChoices):
    PENDING = "PENDING", _("Pending")
    READY = "READY", _("Ready")
    FAILED = "FAILED", _("Failed")


def new_model_id() -> str:
    """An id with the prefix by which MLflow clients recognize a logged model."""
    return f"m-{uuid.uuid4().hex}"


class LoggedModelQuerySet(models.QuerySet["LoggedModel"]):
    def visible_to(self, user: AnyUser, *, role: Role = Role.VIEWER) -> LoggedModelQuerySet:
        """The logged models of projects in which ``user`` has ``role``; a script sees its run's."""
        if script_run_of(user):
            return self.filter(source_run__in=Run.objects.visible_to(user, role=role))
        if sees_everything(user, role=role):
            return self.all()
        return self.filter(project__in=Project.objects.visible_to(user, role=role))

    def kept(self) -> LoggedModelQuerySet:
        """Excludes deleted models."""
        return self.filter(deleted_at=None)

    def record_metrics(self, run_id: str, points: Sequence[ModelPoint]) -> None:
        """Store metrics of logged models measured by the run ``run_id``. Idempotent."""
        if points:
            upsert_model_metrics(run_id, points)


class LoggedModel(TagsMixin):
    id = models.CharField(
        primary_key=True,
        max_length=36,
        default=new_model_id,
        editable=False,
        db_collation="C",
    )
    project = models.ForeignKey(
        Project,
        models.CASCADE,
        related_name="logged_models",
        verbose_name=_("project"),
    )
    # The run that logged it; None if it was created outside any run, or by one that is not here.
    source_run = models.ForeignKey(
        Run,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="logged_models",
        verbose_name=_("run"),
    )
    # The ID of a run that is not here, as of another tracking server.
    run_elsewhere = models.CharField(_("run elsewhere"), max_length=64, blank=True, db_default="")
    # The hidden run whose artifacts its files are, if no run here has logged it.
    keeper = models.ForeignKey(
        Run, models.SET_NULL, null=True, blank=True, related_name="+", editable=False
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
            # logged-models/search: the logged models of an experiment, newest first.
            models.Index(fields=["project", "-created_at", "id"], name="loggedmodel_of_project"),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"

    @property
    def files_run(self) -> Run | None:
        """The run whose artifacts its files are, in the folder ``models/{id}``."""
        return self.source_run or self.keeper

    def finalize(self, status: LoggedModelStatus) -> None:
        """Set the final status: ready once all files are uploaded, or failed."""
        LoggedModel.objects.filter(pk=self.pk).update(status=status, updated_at=Now())
        self.refresh_from_db()

    def discard(self) -> None:
        """Soft-delete it. Its files remain, and model versions created from it keep working. Raises
        ModelReleased."""
        with transaction.atomic():
            lock_promotions()  # no version is released between this and the deletion
            released = self.versions.released().select_related("model").order_by("pk").first()
            if released is not None:
                raise ModelReleased(kept_text(released.model.name, released.number))
            LoggedModel.objects.kept().filter(pk=self.pk).update(deleted_at=Now())

    def note_version(self, name: str, number: int) -> None:
        """Add a version of a registered model to the tag in which MLflow clients look for them."""
        with transaction.atomic():
            tags = self._locked().tags
            version = {"name": name, "version": number}
            noted = _versions_in(tags)
            if version not in noted:
                self._save_tags({**tags, VERSIONS_TAG: json.dumps([*noted, version])})

    def log_params(self, params: dict[str, str]) -> None:
        """Add params. Raises ParamChanged if an existing one would get another value."""
        with transaction.atomic():
            existing = self._locked().params
            for key, value in params.items():
                if existing.get(key, value) != value:
                    raise ParamChanged(
                        _t("The model parameter %(key)s is already set to %(value)s.")
                        % {"key": key, "value": existing[key]}
                    )
            self.params = {**existing, **params}
            LoggedModel.objects.filter(pk=self.pk).update(params=self.params)


def _versions_in(tags: dict[str, str]) -> list[Any]:
    """Empty if a client has put something else there."""
    try:
        versions = json.loads(tags.get(VERSIONS_TAG, "[]"))
    except ValueError:
        return []
    return versions if isinstance(versions, list) else []


class LoggedModelMetric(models.Model):
    """The latest value of a metric that a run measured for a model, optionally on a dataset.

    Every point is also stored in the run's series: see metrics/models.py.
    """

    model = models.ForeignKey(LoggedModel, models.CASCADE, related_name="metrics")
    run = models.ForeignKey(Run, models.CASCADE, related_name="+")
    key = models.CharField(max_length=MAX_KEY_LENGTH)
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
