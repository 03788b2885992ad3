"""Loads the demo's projects, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from core.ids import derived_id
from core.sessions import lift_limits, prepare_connection
from projects.models import Project, ProjectStatus
from trainhub.demo import alignment, pretraining, tuning
from trainhub.demo.team import Team, gather
from trainhub.demo.texts import ProjectTexts, texts
from trainhub.up.demo import FIRST_PROJECT_ID

NAMES: Final = ("pretraining", "tuning", "alignment")
IDS: Final = {name: derived_id("proj", "demo", name) for name in NAMES}
DAYS: Final = {"pretraining": 21, "tuning": 6, "alignment": 4}  # since it was created


@dataclass(frozen=True)
class Loaded:
    """``is_new``: it was not there before."""

    is_new: bool
    projects: list[Project]


def has_other_projects() -> bool:
    """Whether there are projects beyond the demo's and that of the first start."""
    known = [*IDS.values(), FIRST_PROJECT_ID]
    return Project.objects.exclude(pk__in=known).exists()


def load(*, report: Callable[[str], object] = lambda _name: None) -> Loaded:
    """Create the demo's projects, if they were never there: all of them or, if it fails, none.

    ``report`` is called with the name of each project that has been written.
    """
    lift_limits()  # while a curve is computed, the session is idle
    try:
        return _load(report)
    finally:
        prepare_connection(connection=connection)


@transaction.atomic
def _load(report: Callable[[str], object]) -> Loaded:
    if Project.history.filter(id__in=IDS.values()).exists():
        return Loaded(False, list(Project.objects.filter(pk__in=IDS.values())))
    team = gather(texts(), timezone.now().replace(microsecond=0))
    owner, tuner, aligner, *_others = team.people
    first = _project(team, "pretraining", team.texts.pretraining, "gpt-1.3b", owner)
    base = pretraining.create(team, first)
    report(first.name)
    second = _project(team, "tuning", team.texts.tuning, "base-1.3b", tuner)
    tuned = tuning.create(team, second, base)
    report(second.name)
    third = _project(team, "alignment", team.texts.alignment, "chat-1.3b", aligner)
    alignment.create(team, third, tuned)
    report(third.name)
    return Loaded(True, [first, second, third])


def _project(team: Team, name: str, told: ProjectTexts, base_model: str, owner: User) -> Project:
    configuration = {
        "id": IDS[name],
        "name": told.name,
        "description": told.description,
        "objective": told.objective,
        "task_type": told.task_type,
        "tags": told.tags,
        "base_model": base_model,
        "owner": owner.get_username(),
        "default_hyperparameters": {"weight_decay": 0.1},
    }
    project = Project.create(configuration, by=owner, team=team.owners)
    project.revise({"default_hyperparameters": {"weight_decay": 0.01}}, by=owner)
    project.set_status(ProjectStatus.ACTIVE)
    _move(project, team.ago(days=DAYS[name]))
    return project


def _move(project: Project, created_at: datetime) -> None:
    Project.objects.filter(pk=project.pk).update(created_at=created_at)
    for number, version in enumerate(project.history.order_by("version")):
        revised_at = created_at + timedelta(hours=number)
        project.history.filter(pk=version.pk).update(history_date=revised_at)
