"""What a project demands before a checkpoint is released: approval, and gates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts.roles import Role
from core.exceptions import DomainError, InvalidInput
from core.json_field import JSONField
from core.messages import Message, Text
from core.text import MAX_KEY_LENGTH, UNSTORABLE
from projects.access import require_of
from projects.models import Project

MAX_GATES: Final = 20
MAX_DAYS: Final = 3650
# Fields of a model card's front matter (model_card_metadata.py), and the text that introduces it.
CARD_FIELDS: Final = (
    "language",
    "license",
    "library_name",
    "pipeline_tag",
    "base_model",
    "datasets",
    "metrics",
    "tags",
    "model-index",
    "description",
)


class GateKind(models.TextChoices):
    METRIC = "metric", _("Evaluation metric")
    BYTES = "bytes", _("Verified bytes")
    CARD = "card", _("Model card")


class Comparison(models.TextChoices):
    AT_LEAST = ">=", ">="
    AT_MOST = "<=", "<="


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition. ``key``, ``comparison``, ``threshold``: of a metric; ``within_days``: of the
    bytes, 0 for the last hour; ``fields``: of the card."""

    kind: GateKind
    key: str = ""
    comparison: Comparison = Comparison.AT_LEAST
    threshold: float = 0.0
    within_days: int = 0
    fields: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        if self.kind is GateKind.METRIC:
            said = {"key": self.key, "comparison": self.comparison, "threshold": self.threshold}
            return {"kind": self.kind.value, **said}
        if self.kind is GateKind.BYTES:
            return {"kind": self.kind.value, "within_days": self.within_days}
        return {"kind": self.kind.value, "fields": list(self.fields)}

    @property
    def title(self) -> Text:
        if self.kind is GateKind.METRIC:
            return f"{self.key} {self.comparison.value} {self.threshold:g}"
        if self.kind is GateKind.CARD:
            return Message("The model card has %(fields)s", fields=", ".join(self.fields))
        if self.within_days:
            return Message("Its bytes were verified within %(days)d days", days=self.within_days)
        return Message("Its bytes are verified again")


def checked_gate(said: Mapping[str, Any]) -> Gate:
    """Raises InvalidInput."""
    kind = GateKind(said["kind"])
    if kind is GateKind.METRIC:
        return _metric_gate(said)
    if kind is GateKind.BYTES:
        days = said.get("within_days", 0)
        if type(days) is not int or not 0 <= days <= MAX_DAYS:
            raise _invalid(_t("A number of days from 0 to %(limit)d.") % {"limit": MAX_DAYS})
        return Gate(kind, within_days=days)
    fields = tuple(dict.fromkeys(said.get("fields") or ()))
    if not fields or not set(fields) <= set(CARD_FIELDS):
        known = ", ".join(CARD_FIELDS)
        raise _invalid(_t("A gate of the model card names fields: %(known)s.") % {"known": known})
    return Gate(kind, fields=fields)


def _metric_gate(said: Mapping[str, Any]) -> Gate:
    key, threshold = said.get("key", ""), said.get("threshold")
    if not 0 < len(key) <= MAX_KEY_LENGTH or UNSTORABLE.search(key):
        raise _invalid(_t("A gate of a metric names its key."))
    if not isinstance(threshold, int | float) or not math.isfinite(threshold):
        raise _invalid(_t("A gate of a metric has a threshold, a finite number."))
    comparison = Comparison(said.get("comparison", Comparison.AT_LEAST))
    return Gate(GateKind.METRIC, key=key, comparison=comparison, threshold=float(threshold))


class NoSingleCheckpoint(DomainError):
    """What is not made of one checkpoint passes no gate, and nobody approves it."""

    code = "approval_needed"
    status_code = 403


class DemandsLess(DomainError):
    """The project of the version demands less of releases than others of the model."""

    code = "approval_needed"
    status_code = 403


def _invalid(message: str) -> InvalidInput:
    return InvalidInput(message, attr="gates")


class ReleasePolicyQuerySet(models.QuerySet["ReleasePolicy"]):
    def demanding(self) -> ReleasePolicyQuerySet:
        return self.exclude(needs_approval=False, gates_json=[])


class ReleasePolicy(models.Model):
    """A project without a row demands nothing."""

    project = models.OneToOneField(
        Project, models.CASCADE, primary_key=True, related_name="release_policy"
    )
    needs_approval = models.BooleanField(_("releases need approval"), default=False)
    gates_json = JSONField(default=list, editable=False)  # of ``gates``
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    changed_at = models.DateTimeField(auto_now=True)

    objects = ReleasePolicyQuerySet.as_manager()

    class Meta:
        verbose_name = _("release policy")
        verbose_name_plural = _("release policies")

    def __str__(self) -> str:
        return str(self.project_id)

    @classmethod
    def of(cls, project_id: str) -> ReleasePolicy:
        """Unsaved if the project has none."""
        known = cls.objects.select_related("changed_by").filter(pk=project_id).first()
        return known or cls(project_id=project_id)

    @property
    def gates(self) -> list[Gate]:
        return [checked_gate(said) for said in cast("list[dict[str, Any]]", self.gates_json)]

    @property
    def is_demanding(self) -> bool:
        return self.needs_approval or bool(self.gates_json)


def change_policy(
    project: Project,
    *,
    by: User | None,
    needs_approval: bool | None = None,
    gates: Sequence[Mapping[str, Any]] | None = None,
) -> ReleasePolicy:
    """What is None stays. Owners only. Raises InvalidInput, RoleNeeded."""
    require_of(by, project.pk, Role.OWNER)
    values: dict[str, Any] = {"changed_by": by}
    if needs_approval is not None:
        values["needs_approval"] = needs_approval
    if gates is not None:
        if len(gates) > MAX_GATES:
            raise _invalid(_t("At most %(limit)d gates.") % {"limit": MAX_GATES})
        values["gates_json"] = [checked_gate(said).as_json() for said in gates]
    policy, _created = ReleasePolicy.objects.update_or_create(project=project, defaults=values)
    return policy
