"""Quotas of storage: how many bytes the artifacts of a project, or of an owner, may have.

Beyond one, uploads by clients and new trainings are refused. What a training that runs saves is
still stored, as a checkpoint that is lost cannot be had again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _

from artifacts.storage_use_queries import bytes_of_owner, bytes_of_project
from core.exceptions import DomainError
from core.messages import Message, Text
from core.text import MAX_NAME_LENGTH
from projects.models import Project
from runs.models import RecipeKind, Run


class StorageQuotaExceeded(DomainError):
    """Content Too Large, as RFC 9110 §15.5.14 calls it: the same request succeeds once there is
    room."""

    code = "storage_quota"
    status_code = 413


class StorageQuota(models.Model):
    project = models.ForeignKey(
        Project,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="storage_quotas",
        verbose_name=_("project"),
    )
    owner = models.CharField(
        _("owner"),
        max_length=MAX_NAME_LENGTH,
        blank=True,
        help_text=_("Of all projects with this owner together."),
    )
    max_bytes = models.BigIntegerField(
        _("bytes"),
        validators=[MinValueValidator(0)],
        help_text=_("Of all artifacts, those in the trash included. 1 TB has 1000000000000."),
    )

    class Meta:
        verbose_name = _("storage quota")
        verbose_name_plural = _("storage quotas")
        ordering = ("project__name", "owner")
        constraints = (
            models.CheckConstraint(
                name="storagequota_of_project_or_owner",
                condition=(Q(project=None) & ~Q(owner=""))
                | (Q(project__isnull=False) & Q(owner="")),
                violation_error_message=_("A quota is that of a project or of an owner."),
            ),
            models.CheckConstraint(name="storagequota_not_negative", condition=Q(max_bytes__gte=0)),
            models.UniqueConstraint(
                name="storagequota_one_of_each",
                fields=["project", "owner"],
                nulls_distinct=False,
                violation_error_message=_("There is such a quota already."),
            ),
        )

    def __str__(self) -> str:
        return self.owner if self.project is None else self.project.name


@dataclass(frozen=True, slots=True)
class Allowance:
    """A quota, and what is stored of it, in bytes."""

    name: str  # of the project or owner
    is_of_owner: bool
    max_bytes: int
    used_bytes: int

    @property
    def is_exceeded(self) -> bool:
        """Whether there is no room for one byte more."""
        return self.used_bytes >= self.max_bytes

    def holds(self, extra_bytes: int) -> bool:
        return self.used_bytes + extra_bytes <= self.max_bytes

    @property
    def text(self) -> Text:
        used, most = filesizeformat(self.used_bytes), filesizeformat(self.max_bytes)
        if self.is_of_owner:
            return Message(
                "The projects of %(name)s use %(used)s of the %(most)s that they may store.",
                name=self.name,
                used=used,
                most=most,
            )
        return Message(
            "The project %(name)s uses %(used)s of the %(most)s that it may store.",
            name=self.name,
            used=used,
            most=most,
        )


def allowances_of(project: Project) -> list[Allowance]:
    """That of the project and that of its owner, if they have quotas. One statement if not."""
    of_either = Q(project=project.pk)
    if project.owner:
        of_either |= Q(owner=project.owner)
    found = []
    for quota in StorageQuota.objects.filter(of_either).order_by("pk"):
        is_of_owner = quota.project_id is None
        used = bytes_of_owner(quota.owner) if is_of_owner else bytes_of_project(project.pk)
        name = quota.owner if is_of_owner else project.name
        found.append(Allowance(name, is_of_owner, quota.max_bytes, used))
    return found


def refuse_over_quota(project: Project, extra_bytes: int) -> None:
    """Raises StorageQuotaExceeded if ``extra_bytes`` more do not fit. 0 always fits, unless a quota
    is used up. Of uploads at the same time, each may find room for itself alone."""
    for allowance in allowances_of(project):
        if allowance.is_exceeded or not allowance.holds(extra_bytes):
            raise StorageQuotaExceeded(
                Message(
                    "%(use)s The request needs %(extra)s more: delete something, or ask an "
                    "operator for more.",
                    use=allowance.text,
                    extra=filesizeformat(extra_bytes),
                )
            )


def refuse_run(*, run: Run, **_signal: Any) -> None:
    """Receiver of run_admitting: no training begins beyond a quota. Evaluations do: they tell which
    checkpoints are worth their bytes. Raises StorageQuotaExceeded."""
    if run.recipe is None or run.recipe.kind != RecipeKind.EVALUATION:
        refuse_over_quota(run.project, 0)


def exceeded(project: Project) -> list[Allowance]:
    """The quotas that are used up."""
    return [allowance for allowance in allowances_of(project) if allowance.is_exceeded]
