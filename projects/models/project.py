"""Projects: purpose, base model and default hyperparameters of a set of runs, with versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django.contrib.auth.models import User
from django.contrib.postgres.fields import ArrayField
from django.db import models, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from accounts.grants import AnyUser, grant_of
from accounts.models import Team, TeamMembership
from accounts.permissions import require_all_projects
from accounts.roles import Role
from core.choices import ContractChoices
from core.exceptions import DomainError, InvalidInput
from core.ids import PublicIdField
from core.json_field import JSONField
from core.text import MAX_KEY_LENGTH, MAX_NAME_LENGTH
from projects.models.project_role import ProjectRole
from projects.signals import project_reopened

MAX_TAGS = 50
MAX_TAG_LENGTH = 64
MAX_KEY_METRICS = 10


class ProjectStatus(ContractChoices):
    DRAFT = "草稿", _("Draft")
    ACTIVE = "进行中", _("Active")
    ARCHIVED = "已归档", _("Archived")


NEWEST_RUNS = 100  # in a project's detail; GET /projects/{id}/runs lists them all


class ProjectArchived(DomainError):
    code = "project_archived"


@dataclass(frozen=True)
class Change:
    field: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Version:
    """A numbered version of a project's configuration, with its changes from the previous one."""

    number: int
    created_at: datetime
    changed_by: str | None
    changes: list[Change]


class ProjectQuerySet(models.QuerySet["Project"]):
    def visible_to(self, user: AnyUser, *, role: Role = Role.VIEWER) -> ProjectQuerySet:
        """The projects in which ``user`` has ``role``, or a higher one. Every other ``visible_to``
        of what belongs to a project is made of this one."""
        grant = grant_of(user)
        role = max(role, grant.needed_role)
        if not user.is_authenticated or grant.highest_role < role:
            return self.none()
        if grant.run_id:
            return self.filter(runs__pk=grant.run_id)
        projects = self.filter(pk=grant.project_id) if grant.project_id else self.all()
        if getattr(user, "is_superuser", False):
            return projects
        teams = TeamMembership.objects.filter(user=user.pk, role__gte=role).values("team")
        own = ProjectRole.objects.filter(user=user.pk, role__gte=role).values("project")
        return projects.filter(models.Q(team__in=teams) | models.Q(pk__in=own))


class Project(models.Model):
    # The versioned fields: a change to any of them creates a new version.
    CONFIGURATION: ClassVar[tuple[str, ...]] = (
        "name",
        "description",
        "objective",
        "task_type",
        "base_model",
        "owner",
        "tags",
        "default_hyperparameters",
    )

    id = PublicIdField(prefix="proj")
    name = models.CharField(_("name"), max_length=MAX_NAME_LENGTH)
    description = models.TextField(_("description"), blank=True, max_length=10_000)
    objective = models.TextField(_("objective"), blank=True, max_length=10_000)
    task_type = models.CharField(_("task type"), max_length=100, blank=True)
    base_model = models.CharField(_("base model"), max_length=MAX_NAME_LENGTH, blank=True)
    owner = models.CharField(_("owner"), max_length=100, blank=True)
    # Whose members have a role in the project, besides those with one of their own in it.
    team = models.ForeignKey(
        Team,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="projects",
        verbose_name=_("team"),
    )
    tags = ArrayField(
        models.CharField(max_length=MAX_TAG_LENGTH),
        verbose_name=_("tags"),
        default=list,
        blank=True,
    )
    default_hyperparameters = JSONField(_("default hyperparameters"), default=dict, blank=True)
    # Key -> text, set by MLflow clients on an experiment; ``tags`` above is a list of words.
    experiment_tags = JSONField(_("experiment tags"), default=dict, blank=True, editable=False)
    # The metrics that matter, shown first wherever there is room for few; empty: chosen by rule.
    # Not part of a version: how runs are shown does not change what they are.
    key_metrics = ArrayField(
        models.CharField(max_length=MAX_KEY_LENGTH),
        verbose_name=_("key metrics"),
        default=list,
        db_default=[],
        blank=True,
    )
    status = models.CharField(
        _("status"), max_length=16, choices=ProjectStatus, default=ProjectStatus.DRAFT
    )
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    # Incremented for each new run: spares lists a COUNT, and numbers run-001, run-002 …
    run_count = models.PositiveIntegerField(_("runs"), default=0, editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    history = HistoricalRecords(
        excluded_fields=[
            "status",
            "run_count",
            "experiment_tags",
            "key_metrics",
            "team",
            "created_at",
            "updated_at",
        ]
    )

    objects = ProjectQuerySet.as_manager()

    class Meta:
        verbose_name = _("project")
        verbose_name_plural = _("projects")
        ordering = ("-created_at", "id")
        indexes = (
            # The oldest project with a given name: looked up by MLflow clients.
            models.Index(fields=["name", "created_at", "id"], name="project_by_name"),
            # The list of projects, newest first.
            models.Index(fields=["-created_at", "id"], name="project_newest_first"),
        )
        constraints = (
            models.CheckConstraint(
                name="project_status_known", condition=models.Q(status__in=ProjectStatus.values)
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def is_archived(self) -> bool:
        return self.status == ProjectStatus.ARCHIVED

    @classmethod
    def create(
        cls, configuration: dict[str, Any], *, by: User | None, team: Team | None = None
    ) -> Project:
        """Create a draft project whose first version is by ``by``, who owns it. ``team``: None for
        the team of those who are in a single one, and none otherwise. Raises LimitedToProject."""
        require_all_projects(by)
        project = cls(**configuration, team=team or Team.only_one_of(by))
        project._history_user = by  # type: ignore[attr-defined]
        with transaction.atomic():
            project.save(force_insert=True)
            if by is not None:
                project.roles.create(user=by, role=Role.OWNER)
        return project

    def update(
        self, changes: dict[str, Any], *, status: ProjectStatus | None, by: User | None
    ) -> None:
        """Revise and set the status in one transaction."""
        with transaction.atomic():
            self.revise(changes, by=by)
            if status is not None:
                self.set_status(status)

    def revise(self, changes: dict[str, Any], *, by: User | None) -> None:
        """Change the configuration: creates one new version, or none if nothing differs.

        ``changes`` maps names in CONFIGURATION to new values. A row lock serializes concurrent
        revisions: each becomes a version and none is lost.
        """
        with transaction.atomic():
            current = Project.objects.select_for_update().get(pk=self.pk)
            differing = {
                name: value for name, value in changes.items() if getattr(current, name) != value
            }
            if differing:
                for name, value in differing.items():
                    setattr(current, name, value)
                current.version += 1
                current._history_user = by  # type: ignore[attr-defined]
                current.save(update_fields=[*differing, "version", "updated_at"])
        self.refresh_from_db()

    def set_status(self, to: ProjectStatus) -> None:
        """Activate, archive or reopen the project. Only users change the status, never runs."""
        with transaction.atomic():
            before = Project.objects.select_for_update().get(pk=self.pk)
            Project.objects.filter(pk=self.pk).update(status=to, updated_at=Now())
            if before.is_archived and to != ProjectStatus.ARCHIVED:
                project_reopened.send(Project, project=self)
        self.refresh_from_db()

    def show_first(self, metrics: Sequence[str]) -> None:
        """Set the project's key metrics, in their order. Raises InvalidInput."""
        keys = list(dict.fromkeys(metrics))
        if len(keys) > MAX_KEY_METRICS:
            raise InvalidInput(
                _t("At most %(limit)d key metrics.") % {"limit": MAX_KEY_METRICS},
                attr="key_metrics",
            )
        if any("\x00" in key or not 1 <= len(key) <= MAX_KEY_LENGTH for key in keys):
            raise InvalidInput(
                _t("A metric's name must have 1 to %(limit)d characters.")
                % {"limit": MAX_KEY_LENGTH},
                attr="key_metrics",
            )
        if keys != self.key_metrics:
            Project.objects.filter(pk=self.pk).update(key_metrics=keys, updated_at=Now())
            self.refresh_from_db()

    def allocate_run_number(self) -> int:
        """Increment the run count and return the new run's number, starting at 1.

        Call inside a transaction: the row lock is held until its end, so numbers are unique and the
        project cannot be archived in the meantime. Raises ProjectArchived.
        """
        current = Project.objects.select_for_update().get(pk=self.pk)
        if current.is_archived:
            raise ProjectArchived(_t("The project is archived and does not accept new runs."))
        Project.objects.filter(pk=self.pk).update(run_count=current.run_count + 1, updated_at=Now())
        self.refresh_from_db()
        return self.run_count

    def newest_runs(self) -> Any:
        """What its detail tells of its runs: see RunBriefSerializer."""
        newest = self.runs.kept().order_by("-created_at", "id")
        return newest.values("id", "name", "status", "progress", "started_at")[:NEWEST_RUNS]

    def versions(self) -> list[Version]:
        """All versions, newest first, each with its changes (none for the first version)."""
        records = list(self.history.select_related("history_user").order_by("version"))
        versions = []
        for before, record in zip([None, *records], records, strict=False):
            changes = [
                Change(field, getattr(before, field), getattr(record, field))
                for field in self.CONFIGURATION
                if before is not None and getattr(before, field) != getattr(record, field)
            ]
            user = record.history_user
            versions.append(
                Version(
                    number=record.version,
                    created_at=record.history_date,
                    changed_by=user.get_username() if user else None,
                    changes=changes,
                )
            )
        return versions[::-1]
