"""MLflow experiments, which are TrainHub projects. Names are unique among those created here.

Experiment "0" is for scripts that set no experiment: a project named Default, created on first use
and returned with its own id from then on. With a token for one project or run it is that project.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Case, When
from django.db.models.functions import Now
from django.urls import path
from django.utils.translation import gettext as _

from accounts.grants import grant_of
from accounts.roles import Role
from core.text import MAX_NAME_LENGTH
from core.times import milliseconds
from projects.models import Project, ProjectStatus
from runs import trash
from runs.reports import check_texts
from tracking import paging
from tracking.columns import ExperimentColumns
from tracking.conditions import where
from tracking.errors import AlreadyExists, DoesNotExist, InvalidParameter
from tracking.filters import parse_orders
from tracking.malformed import missing
from tracking.protocol import Message, endpoint, storable_text
from tracking.queries import lock_experiment_name
from tracking.unseen import unseen
from tracking.vocabulary import (
    NOTE_TAG,
    ViewType,
    artifact_location,
    lifecycle_stage,
)

DEFAULT_ID: Final = "0"
DEFAULT_NAME: Final = "Default"
MAX_TAG_LENGTH: Final = 5000
MAX_NOTE_LENGTH: Final = 10_000
MAX_TAGS: Final = 1000

Limit = Annotated[int, msgspec.Meta(ge=1, le=50_000)]


class Tag(msgspec.Struct):
    key: str
    value: str = ""


# --- lookup ----------------------------------------------------------------------------------


def get_experiment(caller: User, experiment_id: str) -> Project:
    """Raises DoesNotExist."""
    if experiment_id == DEFAULT_ID:
        return default_experiment(caller)
    rows = Project.objects.filter(pk=storable_text(experiment_id, name="id"))
    project: Project | None = rows.visible_to(caller).first()
    if project is None:
        raise unseen(caller, rows, _("Experiment %(id)s not found.") % {"id": experiment_id})
    return project


def get_active_experiment(caller: User, experiment_id: str) -> Project:
    """For what changes it or adds to it. Raises DoesNotExist, InvalidParameter if it is deleted."""
    project = get_experiment(caller, experiment_id)
    if project.is_archived:
        raise InvalidParameter(
            _("Experiment %(id)s is deleted: restore it first.") % {"id": project.pk}
        )
    return project


def find_experiment(caller: User, name: str) -> Project | None:
    """The oldest project with this name; an archived one, which clients see as deleted, only if
    there is no other."""
    matches = Project.objects.visible_to(caller).filter(name=name)
    is_archived = Case(When(status=ProjectStatus.ARCHIVED, then=1), default=0)
    return matches.order_by(is_archived, "created_at", "id").first()


def default_experiment(caller: User) -> Project:
    """Get or create the project named Default; concurrent calls create it once. Raises DoesNotExist
    for a token that may not create it."""
    project = find_default(caller)
    if project is not None:
        return project
    grant = grant_of(caller)
    if grant.project_id or grant.highest_role < Role.MEMBER:
        rows = Project.objects.filter(pk=grant.project_id)
        raise unseen(caller, rows, _("Experiment %(id)s not found.") % {"id": DEFAULT_ID})
    with transaction.atomic():
        lock_experiment_name(DEFAULT_NAME)
        return find_experiment(caller, DEFAULT_NAME) or Project.create(
            {"name": DEFAULT_NAME}, by=caller
        )


def find_default(caller: User) -> Project | None:
    """The project named Default; by a token for one project or run, for a client that has not asked
    for another, the only one that it sees."""
    grant = grant_of(caller)
    if grant.project_id or grant.run_id:
        return Project.objects.visible_to(caller).first()
    return find_experiment(caller, DEFAULT_NAME)


def project_ids(caller: User, experiment_ids: list[str]) -> list[str]:
    """Resolve experiment ids to project ids. Unknown ids are not an error: they match no runs."""
    ids = [storable_text(id, name="experiment_ids") for id in experiment_ids if id != DEFAULT_ID]
    if len(ids) < len(experiment_ids):
        default = find_default(caller)
        ids += [default.pk] if default else []
    return ids


# --- reading ---------------------------------------------------------------------------------


def experiment_json(project: Project) -> dict[str, Any]:
    tags = dict(project.experiment_tags)
    if project.description:
        tags[NOTE_TAG] = project.description
    return {
        "experiment_id": project.pk,
        "name": project.name,
        "artifact_location": artifact_location(project.pk),
        "lifecycle_stage": lifecycle_stage(is_deleted=project.is_archived),
        "creation_time": milliseconds(project.created_at),
        "last_update_time": milliseconds(project.updated_at),
        "tags": [{"key": key, "value": text} for key, text in sorted(tags.items())],
    }


class ById(Message):
    experiment_id: str


class ByName(Message):
    experiment_name: str


@endpoint("GET", message=ById)
def get(caller: User, message: ById) -> dict[str, Any]:
    return {"experiment": experiment_json(get_experiment(caller, message.experiment_id))}


@endpoint("GET", message=ByName)
def get_by_name(caller: User, message: ByName) -> dict[str, Any]:
    name = storable_text(message.experiment_name, name="experiment_name")
    project = find_experiment(caller, name)
    if project is None and name == DEFAULT_NAME:
        project = default_experiment(caller)
    if project is None:
        raise DoesNotExist(_("No experiment named %(name)s.") % {"name": repr(name)})
    return {"experiment": experiment_json(project)}


class Search(Message):
    max_results: Limit = 1000
    page_token: str | None = None
    filter: str | None = None
    order_by: list[str] | None = None
    view_type: ViewType | None = None


@endpoint("GET", "POST", message=Search, role=Role.VIEWER)
def search(caller: User, message: Search) -> dict[str, Any]:
    columns = ExperimentColumns()
    projects = Project.objects.visible_to(caller)
    if message.view_type == "DELETED_ONLY":
        projects = projects.filter(status=ProjectStatus.ARCHIVED)
    elif message.view_type != "ALL":
        projects = projects.exclude(status=ProjectStatus.ARCHIVED)
    projects = projects.filter(where(message.filter or "", columns))
    ordering = paging.Ordering(parse_orders(message.order_by or ()), paging.CREATION, columns)
    page = ordering.page(projects, token=message.page_token or "", limit=message.max_results)
    page_projects = paging.in_order(Project.objects.all(), page.ids)
    return {
        "experiments": [experiment_json(project) for project in page_projects],
        "next_page_token": page.next_token,
    }


# --- creating and changing -------------------------------------------------------------------


class Create(Message):
    name: str
    artifact_location: str | None = None  # ignored: TrainHub chooses it
    tags: list[Tag] | None = None


@endpoint("POST", message=Create)
def create(caller: User, message: Create) -> dict[str, Any]:
    name = checked_name(message.name)
    tags = {tag.key: tag.value for tag in message.tags or ()}
    note = tags.pop(NOTE_TAG, "")
    _check_note(note)
    _check_tags(tags)
    with transaction.atomic():
        _reserve(caller, name)
        configuration = {"name": name, "description": note, "experiment_tags": tags}
        return {"experiment_id": Project.create(configuration, by=caller).pk}


class Update(Message):
    experiment_id: str
    new_name: str | None = None


@endpoint("POST", message=Update, role=Role.MAINTAINER)
def update(caller: User, message: Update) -> dict[str, Any]:
    project = get_active_experiment(caller, message.experiment_id)
    if message.new_name is None:
        raise missing("new_name")
    name = checked_name(message.new_name)
    with transaction.atomic():
        _reserve(caller, name, exclude=project)
        project.revise({"name": name}, by=caller)
    return {}


def checked_name(name: str) -> str:
    """Raises InvalidParameter."""
    storable_text(name, name="name")
    if not name.strip() or len(name) > MAX_NAME_LENGTH:
        raise InvalidParameter(
            _("The experiment name must be 1 to %(limit)d characters long.")
            % {"limit": MAX_NAME_LENGTH}
        )
    return name


def _reserve(caller: User, name: str, *, exclude: Project | None = None) -> None:
    """Raises AlreadyExists. Call in a transaction: ``name`` stays reserved until it ends."""
    lock_experiment_name(name)
    owner = find_experiment(caller, name)
    if owner is not None and not owner.is_archived and owner != exclude:
        raise AlreadyExists(
            _("An experiment named %(name)s already exists.") % {"name": repr(name)}
        )


@endpoint("POST", message=ById, role=Role.MAINTAINER)
def delete(caller: User, message: ById) -> dict[str, Any]:
    """Its runs are deleted with it, and its name can be given to another."""
    trash.delete_with_runs(get_experiment(caller, message.experiment_id), by=caller)
    return {}


@endpoint("POST", message=ById, role=Role.MAINTAINER)
def restore(caller: User, message: ById) -> dict[str, Any]:
    project = get_experiment(caller, message.experiment_id)
    if project.is_archived:
        with transaction.atomic():
            _reserve(caller, project.name, exclude=project)
            project.set_status(ProjectStatus.ACTIVE)
    return {}


# --- tags ------------------------------------------------------------------------------------


class SetTag(Message):
    experiment_id: str
    key: str
    value: str = ""


class DeleteTag(Message):
    experiment_id: str
    key: str


@endpoint("POST", message=SetTag)
def set_tag(caller: User, message: SetTag) -> dict[str, Any]:
    project = get_active_experiment(caller, message.experiment_id)
    if message.key == NOTE_TAG:
        _check_note(message.value)
        project.revise({"description": message.value}, by=caller)
    else:
        _check_tags({message.key: message.value})
        _change_tags(project, {message.key: message.value})
    return {}


@endpoint("POST", message=DeleteTag)
def delete_tag(caller: User, message: DeleteTag) -> dict[str, Any]:
    project = get_active_experiment(caller, message.experiment_id)
    if message.key == NOTE_TAG:
        project.revise({"description": ""}, by=caller)
    elif message.key not in project.experiment_tags:
        raise DoesNotExist(_("No tag with name: %(key)s.") % {"key": message.key})
    else:
        _change_tags(project, {message.key: None})
    return {}


def _change_tags(project: Project, changes: dict[str, str | None]) -> None:
    """``None`` deletes a tag. Takes a row lock, so that no concurrent change is lost."""
    with transaction.atomic():
        current = Project.objects.select_for_update().get(pk=project.pk)
        tags = current.experiment_tags | changes
        kept = {key: text for key, text in tags.items() if text is not None}
        _check_count(kept)
        Project.objects.filter(pk=project.pk).update(experiment_tags=kept, updated_at=Now())


def _check_tags(tags: dict[str, str]) -> None:
    check_texts(tags, MAX_TAG_LENGTH)
    _check_count(tags)


def _check_count(tags: dict[str, str]) -> None:
    if len(tags) > MAX_TAGS:
        raise InvalidParameter(
            _("An experiment can have at most %(limit)d tags.") % {"limit": MAX_TAGS}
        )


def _check_note(note: str) -> None:
    storable_text(note, name=NOTE_TAG)
    if len(note) > MAX_NOTE_LENGTH:
        raise InvalidParameter(
            _("The description can be at most %(limit)d characters long.")
            % {"limit": MAX_NOTE_LENGTH}
        )


PREFIX = "2.0/mlflow/experiments"
urlpatterns = [
    path(f"{PREFIX}/create", create),
    path(f"{PREFIX}/get", get),
    path(f"{PREFIX}/get-by-name", get_by_name),
    path(f"{PREFIX}/search", search),
    path(f"{PREFIX}/update", update),
    path(f"{PREFIX}/delete", delete),
    path(f"{PREFIX}/restore", restore),
    path(f"{PREFIX}/set-experiment-tag", set_tag),
    path(f"{PREFIX}/delete-experiment-tag", delete_tag),
]
