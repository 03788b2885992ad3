"""Which checkpoints a project keeps: the others go to the trash. Without a policy, all are kept."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts.roles import Role
from core.exceptions import InvalidInput
from core.message_field import MessageField
from core.text import MAX_KEY_LENGTH, UNSTORABLE
from projects.access import require_of
from projects.models import Project
from registry.checkpoint_retention import Mode, Retention

MAX_KEPT: Final = 10_000  # best or last
MAX_STEPS: Final = 1_000_000_000


class CheckpointPolicy(models.Model):
    """A project without a row keeps all checkpoints."""

    project = models.OneToOneField(
        Project, models.CASCADE, primary_key=True, related_name="checkpoint_policy"
    )
    metric = models.CharField(_("metric"), max_length=MAX_KEY_LENGTH, blank=True)
    mode = models.CharField(_("best value"), max_length=3, choices=Mode, default=Mode.MIN)
    best = models.PositiveIntegerField(_("best"), default=0)
    last = models.PositiveIntegerField(_("last"), default=0)
    every = models.PositiveIntegerField(_("every so many steps"), default=0)
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    changed_at = models.DateTimeField(auto_now=True)
    # What workers do with it, and what was wrong the last time.
    applied_at = models.DateTimeField(null=True, editable=False)
    problem = MessageField(default="", editable=False)

    class Meta:
        verbose_name = _("checkpoint policy")
        verbose_name_plural = _("checkpoint policies")
        constraints = (
            models.CheckConstraint(
                name="checkpointpolicy_keeps_some",
                condition=models.Q(best__gt=0) | models.Q(last__gt=0) | models.Q(every__gt=0),
            ),
            models.CheckConstraint(
                name="checkpointpolicy_best_by_metric",
                condition=models.Q(best=0) | ~models.Q(metric=""),
            ),
            models.CheckConstraint(
                name="checkpointpolicy_mode_known", condition=models.Q(mode__in=Mode.values)
            ),
        )
        indexes = (
            # The one whose turn it is.
            models.Index(fields=["applied_at"], name="checkpointpolicy_by_turn"),
        )

    def __str__(self) -> str:
        return str(self.project_id)

    @classmethod
    def of(cls, project_id: str) -> CheckpointPolicy | None:
        return cls.objects.select_related("changed_by").filter(pk=project_id).first()

    @property
    def retention(self) -> Retention:
        return Retention(self.metric, Mode(self.mode), self.best, self.last, self.every)


def checked_retention(
    *, metric: str = "", mode: str = Mode.MIN, best: int = 0, last: int = 0, every: int = 0
) -> Retention:
    """Raises InvalidInput."""
    for attr, number, most in (
        ("best", best, MAX_KEPT),
        ("last", last, MAX_KEPT),
        ("every", every, MAX_STEPS),
    ):
        if not 0 <= number <= most:
            raise InvalidInput(_t("From 0 to %(limit)d.") % {"limit": most}, attr=attr)
    if not (best or last or every):
        message = _t("A policy keeps the best, the last, or every so many steps: name one of them.")
        raise InvalidInput(message)
    if best and not 0 < len(metric) <= MAX_KEY_LENGTH:
        raise InvalidInput(_t("The best are told by a metric: name it."), attr="metric")
    if UNSTORABLE.search(metric):
        raise InvalidInput(_t("The metric has characters that cannot be stored."), attr="metric")
    return Retention(metric if best else "", Mode(mode), best, last, every)


def set_policy(project: Project, *, by: User | None, **rules: Any) -> CheckpointPolicy:
    """``rules``: see checked_retention. Maintainers only. Raises InvalidInput, RoleNeeded."""
    require_of(by, project.pk, Role.MAINTAINER)
    retention = checked_retention(**rules)
    values = {
        "metric": retention.metric,
        "mode": retention.mode,
        "best": retention.best,
        "last": retention.last,
        "every": retention.every,
        "changed_by": by,
        "problem": "",
    }
    policy, _created = CheckpointPolicy.objects.update_or_create(project=project, defaults=values)
    return policy


def remove_policy(project: Project, *, by: User | None) -> None:
    """All checkpoints are kept from now on; what is in the trash stays there. Maintainers only.
    Raises RoleNeeded."""
    require_of(by, project.pk, Role.MAINTAINER)
    CheckpointPolicy.objects.filter(project=project).delete()
