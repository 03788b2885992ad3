"""Rules of projects: every nth checkpoint of its trainings is evaluated."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts.grants import AnyUser
from accounts.permissions import script_run_of, sees_everything
from accounts.roles import Role
from artifacts.models import Artifact
from core.exceptions import InvalidInput
from core.ids import PublicIdField
from core.json_field import JSONField
from core.message_field import MessageField
from core.text import MAX_NAME_LENGTH
from projects.access import require_of
from projects.hyperparameters import check_hyperparameters
from projects.models import Project
from runs.models import MAX_DATASET_LENGTH, Recipe, RecipeKind, Run

MAX_EVERY: Final = 10_000
MAX_RULES: Final = 20  # of a project


class EvaluationRuleQuerySet(models.QuerySet["EvaluationRule"]):
    def visible_to(self, user: AnyUser, *, role: Role = Role.VIEWER) -> EvaluationRuleQuerySet:
        """Those of projects that ``user`` sees; scripts see none."""
        if sees_everything(user, role=role):
            return self.all()
        if script_run_of(user):
            return self.none()
        return self.filter(project__in=Project.objects.visible_to(user, role=role))


class EvaluationRule(models.Model):
    """Evaluate every ``every``-th checkpoint that each training of the project stores from now on.
    Workers do it: rule_driving.py."""

    id = PublicIdField(prefix="rule")
    project = models.ForeignKey(Project, models.CASCADE, related_name="evaluation_rules")
    recipe = models.ForeignKey(Recipe, models.PROTECT, related_name="+", verbose_name=_("recipe"))
    hyperparameters = JSONField(_("hyperparameters"), default=dict)
    dataset = models.CharField(_("dataset"), max_length=MAX_DATASET_LENGTH, blank=True)
    every = models.PositiveIntegerField(
        _("every"), default=1, validators=[MinValueValidator(1), MaxValueValidator(MAX_EVERY)]
    )
    # Which trainings; empty: all.
    of_recipe = models.ForeignKey(Recipe, models.CASCADE, null=True, blank=True, related_name="+")
    run_name = models.CharField(_("run name"), max_length=MAX_NAME_LENGTH, blank=True)
    # Why it does not work at the moment.
    problem = MessageField(_("problem"), blank=True)
    # All checkpoints that were stored before this have been seen.
    seen_until = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(_("created at"), default=timezone.now)

    objects = EvaluationRuleQuerySet.as_manager()

    class Meta:
        verbose_name = _("evaluation rule")
        verbose_name_plural = _("evaluation rules")
        ordering = ("created_at", "id")

    def __str__(self) -> str:
        return f"{self.recipe_id} / {self.every}"


class SeenCheckpoint(models.Model):
    """A checkpoint that a rule has counted, once: the ``number``-th of its run. ``evaluation``: the
    run that evaluates it, if it is an nth."""

    rule = models.ForeignKey(EvaluationRule, models.CASCADE, related_name="seen", db_index=False)
    run = models.ForeignKey(Run, models.CASCADE, related_name="+")
    # No reverse relation: to have been counted does not keep it (ArtifactQuerySet.in_use).
    checkpoint = models.ForeignKey(Artifact, models.SET_NULL, null=True, related_name="+")
    number = models.PositiveIntegerField()
    evaluation = models.ForeignKey(Run, models.SET_NULL, null=True, related_name="+")

    class Meta:
        constraints = (
            models.UniqueConstraint(name="seencheckpoint_once", fields=["rule", "checkpoint"]),
            models.UniqueConstraint(name="seencheckpoint_number", fields=["rule", "run", "number"]),
        )

    def __str__(self) -> str:
        return f"{self.rule_id} {self.run_id} {self.number}"


def create_rule(
    project: Project,
    *,
    by: User | None,
    recipe: Recipe,
    every: int,
    hyperparameters: dict[str, Any] | None = None,
    dataset: str = "",
    of_recipe: Recipe | None = None,
    run_name: str = "",
) -> EvaluationRule:
    """Of checkpoints that are stored from now on. Maintainers only. Raises InvalidInput,
    RoleNeeded."""
    require_of(by, project.pk, Role.MAINTAINER)
    if recipe.kind != RecipeKind.EVALUATION:
        message = _t("The recipe %(name)s is not of the kind evaluation.") % {"name": recipe.pk}
        raise InvalidInput(message, attr="recipe")
    if not 1 <= every <= MAX_EVERY:
        raise InvalidInput(_t("From 1 to %(limit)d.") % {"limit": MAX_EVERY}, attr="every")
    if project.evaluation_rules.count() >= MAX_RULES:
        raise InvalidInput(_t("At most %(limit)d rules.") % {"limit": MAX_RULES})
    return EvaluationRule.objects.create(
        project=project,
        recipe=recipe,
        every=every,
        hyperparameters=check_hyperparameters(hyperparameters or {}),
        dataset=dataset,
        of_recipe=of_recipe,
        run_name=run_name,
        created_by=by,
    )
