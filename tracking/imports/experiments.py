"""An MLflow experiment becomes a project.

It is known again by the ID and the creation time that it has there: a server may get another
address, and experiments of two servers may have the same ID.
"""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from core.ids import derived_id
from core.text import MAX_NAME_LENGTH, storable, truncate
from core.times import EPOCH, MILLISECOND, is_time
from projects.models import Project, ProjectStatus
from tracking.experiments import DEFAULT_ID, DEFAULT_NAME
from tracking.imports import messages
from tracking.imports.context import Context
from tracking.queries import lock_experiment_name
from tracking.vocabulary import NOTE_TAG


def project_id_of(context: Context, source: messages.Experiment) -> str:
    created = source.creation_time
    # Servers before 1.29 tell no time.
    origin = context.server.address if created is None else str(created)
    return derived_id("proj", "mlflow", source.experiment_id, origin)


def is_unused_default(source: messages.Experiment, *, has_runs: bool) -> bool:
    """Every server has an experiment Default, which is of interest only if somebody has used it."""
    return source.experiment_id == DEFAULT_ID and source.name == DEFAULT_NAME and not has_runs


def bring_in_experiment(context: Context, source: messages.Experiment) -> Project:
    """The project, which is made if it is not there. What it lacks of the experiment's tags is
    added; what was edited here is kept."""
    tags = {storable(key): storable(text) for key, text in messages.as_dict(source.tags).items()}
    note = tags.pop(NOTE_TAG, "")
    with transaction.atomic():
        lock_experiment_name(source.name)
        pk = project_id_of(context, source)
        project: Project | None = Project.objects.select_for_update().filter(pk=pk).first()
        if project is None:
            return _create(context, source, pk, note, tags)
        if new := tags.keys() - project.experiment_tags.keys():
            added = {key: tags[key] for key in new}
            merged = {**project.experiment_tags, **added}
            Project.objects.filter(pk=pk).update(experiment_tags=merged)
            project.refresh_from_db()
        return project


def _create(
    context: Context, source: messages.Experiment, pk: str, note: str, tags: dict[str, str]
) -> Project:
    name = _free_name(context, truncate(storable(source.name).strip(), MAX_NAME_LENGTH))
    configuration = {"id": pk, "name": name, "description": note, "experiment_tags": tags}
    project = Project.create(configuration, by=context.owner, team=context.team)
    if source.creation_time is not None and is_time(source.creation_time):
        created_at = EPOCH + MILLISECOND * source.creation_time
        Project.objects.filter(pk=pk).update(created_at=created_at)
        project.refresh_from_db()
    return project


def _free_name(context: Context, name: str) -> str:
    """Clients look an experiment up by its name: one that is taken gets the server's beside it."""
    taken = Project.objects.filter(name=name).exclude(status=ProjectStatus.ARCHIVED)
    if not taken.exists():
        return name
    other = truncate(f"{name} ({context.server.host})", MAX_NAME_LENGTH)
    context.tell(
        _("There is a project %(name)s already: the experiment becomes %(other)s.")
        % {"name": name, "other": other}
    )
    return other


def archive_if_deleted(project: Project, source: messages.Experiment) -> None:
    """A deleted experiment is archived once all of its runs are here. A project that somebody has
    reopened is a draft no more, and stays open."""
    project.refresh_from_db()
    if source.is_deleted and project.status == ProjectStatus.DRAFT:
        project.set_status(ProjectStatus.ARCHIVED)
