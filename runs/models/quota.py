"""Quotas: how many GPUs the runs of a project, or of an owner's projects, may use."""

from __future__ import annotations

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from core.text import MAX_NAME_LENGTH


class Quota(models.Model):
    """A limit on the GPUs that runs hold at once, or on their GPU-hours in a calendar month (UTC).

    A run that would pass it waits; others go ahead. Runs that hold GPUs go on.
    """

    project = models.ForeignKey(
        "projects.Project",
        models.CASCADE,
        null=True,
        blank=True,
        related_name="quotas",
        verbose_name=_("project"),
    )
    owner = models.CharField(
        _("owner"),
        max_length=MAX_NAME_LENGTH,
        blank=True,
        help_text=_("Of all projects with this owner together."),
    )
    pool = models.ForeignKey(
        "runs.GpuPool",
        models.CASCADE,
        null=True,
        blank=True,
        related_name="quotas",
        verbose_name=_("GPU pool"),
        help_text=_("Empty: of all pools together."),
    )
    max_gpus = models.PositiveIntegerField(_("GPUs at once"), null=True, blank=True)
    max_gpu_hours = models.FloatField(
        _("GPU-hours a month"), null=True, blank=True, validators=[MinValueValidator(0.0)]
    )

    class Meta:
        verbose_name = _("quota")
        verbose_name_plural = _("quotas")
        ordering = ("project__name", "owner", "pool")
        constraints = (
            models.CheckConstraint(
                name="quota_of_project_or_owner",
                condition=(Q(project=None) & ~Q(owner=""))
                | (Q(project__isnull=False) & Q(owner="")),
                violation_error_message=_("A quota is that of a project or of an owner."),
            ),
            models.CheckConstraint(
                name="quota_limits_something",
                condition=Q(max_gpus__isnull=False) | Q(max_gpu_hours__isnull=False),
                violation_error_message=_("Set the GPUs at once, the GPU-hours a month, or both."),
            ),
            models.UniqueConstraint(
                name="quota_one_of_each",
                fields=["project", "owner", "pool"],
                nulls_distinct=False,
                violation_error_message=_("There is such a quota already."),
            ),
        )

    def __str__(self) -> str:
        return self.owner if self.project is None else self.project.name
