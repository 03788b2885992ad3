"""Experiments of MLflow's: TrainHub's projects. Names are unique among what is made here.

The experiment "0" is the one for scripts that name none: a project called Default, made when it is
first needed, which afterwards goes by its own id.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now
from django.urls import path
from django.utils.translation import gettext as _

from projects.models import Project, ProjectStatus
from runs.reports import check_texts
from tracking import paging
from tracking.columns import ExperimentColumns
from tracking.conditions import where
from tracking.errors import AlreadyExists, DoesNotExist, InvalidParameter
from tracking.filters import parse_orders
from tracking.queries import lock_experiment_name
from tracking.vocabulary import (
    NOTE_TAG,
    ViewType,
    artifact_location,
    lifecycle_stage,
    milliseconds,
)
from tracking.wire import Message, endpoint, storable_text

DEFAULT_ID: Final = "0"
DEFAULT_NAME: Final = "Default"
MAX_NAME_LENGTH: Final = 200
MAX_TAG_LENGTH: Final = 5000
MAX_NOTE_LENGTH: Final = 10_000
MAX_TAGS: Final = 1000

Limit = Annotated[int, msgspec.Meta(ge=1, le=50_000)]


class Tag(msgspec.Struct):
    key: str
    value: str = ""


# --- which project it is ---------------------------------------------------------------------


def experiment_of(caller: User, experiment_id: str) -> Project:
    """Raises DoesNotExist."""
    if experiment_id == DEFAULT_ID:
        return default_experiment(caller)
    known = Project.objects.visible_to(caller).filter(pk=storable_text(experiment_id, name="id"))
    project = known.first()
    if project is None:
        raise DoesNotExist(_("There is no experiment with the id %(id)s.") % {"id": experiment_id})
    return project


def experiment_named(caller: User, name: str) -> Project | None:
    """The oldest of that name."""
    named = Project.objects.visible_to(caller).filter(name=name)
    return named.order_by("created_at", "id").first()


def default_experiment(caller: User) -> Project:
    """The project called Default, made if there is none; by two at once, it is made once."""
    known = experiment_named(caller, DEFAULT_NAME)
    if known is not None:
        return known
    with transaction.atomic():
        lock_experiment_name(DEFAULT_NAME)
        return experiment_named(caller, DEFAULT_NAME) or Project.create(
            {"name": DEFAULT_NAME}, by=caller
        )


def project_ids(caller: User, experiment_ids: list[str]) -> list[str]:
    """The projects that ``experiment_ids`` mean; what is unknown has no runs, and is no error."""
    ids = [storable_text(id, name="experiment_ids") for id in experiment_ids if id != DEFAULT_ID]
    if len(ids) < len(experiment_ids):
        default = experiment_named(caller, DEFAULT_NAME)
        ids += [default.pk] if default else []
    return ids


# --- what is answered ------------------------------------------------------------------------


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
    return {"experiment": experiment_json(experiment_of(caller, message.experiment_id))}


@endpoint("GET", message=ByName)
def get_by_name(caller: User, message: ByName) -> dict[str, Any]:
    name = storable_text(message.experiment_name, name="experiment_name")
    project = experiment_named(caller, name)
    if project is None and name == DEFAULT_NAME:
        project = default_experiment(caller)
    if project is None:
        raise DoesNotExist(_("There is no experiment named %(name)s.") % {"name": repr(name)})
    return {"experiment": experiment_json(project)}


class Search(Message):
    max_results: Limit = 1000
    page_token: str | None = None
    filter: str | None = None
    order_by: list[str] | None = None
    view_type: ViewType | None = None


@endpoint("GET", "POST", message=Search)
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
    found = paging.in_order(Project.objects.all(), page.ids)
    return {
        "experiments": [experiment_json(project) for project in found],
        "next_page_token": page.next_token,
    }


# --- making and changing ---------------------------------------------------------------------


class Create(Message):
    name: str
    artifact_location: str | None = None  # ours to choose
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


@endpoint("POST", message=Update)
def update(caller: User, message: Update) -> dict[str, Any]:
    project = experiment_of(caller, message.experiment_id)
    if message.new_name is None:
        raise InvalidParameter(_("%(field)s is missing.") % {"field": "new_name"})
    name = checked_name(message.new_name)
    with transaction.atomic():
        _reserve(caller, name, besides=project)
        project.revise({"name": name}, by=caller)
    return {}


def checked_name(name: str) -> str:
    """Raises InvalidParameter."""
    storable_text(name, name="name")
    if not name.strip() or len(name) > MAX_NAME_LENGTH:
        raise InvalidParameter(
            _("An experiment's name has 1 to %(limit)d characters.") % {"limit": MAX_NAME_LENGTH}
        )
    return name


def _reserve(caller: User, name: str, *, besides: Project | None = None) -> None:
    """Raises AlreadyExists. Call in a transaction: to its end nobody else takes ``name``."""
    lock_experiment_name(name)
    holder = experiment_named(caller, name)
    if holder is not None and holder != besides:
        raise AlreadyExists(_("There is an experiment named %(name)s.") % {"name": repr(name)})


@endpoint("POST", message=ById)
def delete(caller: User, message: ById) -> dict[str, Any]:
    experiment_of(caller, message.experiment_id).set_status(ProjectStatus.ARCHIVED)
    return {}


@endpoint("POST", message=ById)
def restore(caller: User, message: ById) -> dict[str, Any]:
    project = experiment_of(caller, message.experiment_id)
    if project.is_archived:
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
    project = experiment_of(caller, message.experiment_id)
    if message.key == NOTE_TAG:
        _check_note(message.value)
        project.revise({"description": message.value}, by=caller)
    else:
        _check_tags({message.key: message.value})
        _change_tags(project, {message.key: message.value})
    return {}


@endpoint("POST", message=DeleteTag)
def delete_tag(caller: User, message: DeleteTag) -> dict[str, Any]:
    project = experiment_of(caller, message.experiment_id)
    if message.key == NOTE_TAG:
        project.revise({"description": ""}, by=caller)
    elif message.key not in project.experiment_tags:
        raise DoesNotExist(_("There is no tag %(key)s.") % {"key": repr(message.key)})
    else:
        _change_tags(project, {message.key: None})
    return {}


def _change_tags(project: Project, changes: dict[str, str | None]) -> None:
    """``None`` takes a tag away. The row is locked, so that none of two changes at once is lost."""
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
        raise InvalidParameter(_("An experiment has %(limit)d tags at most.") % {"limit": MAX_TAGS})


def _check_note(note: str) -> None:
    storable_text(note, name=NOTE_TAG)
    if len(note) > MAX_NOTE_LENGTH:
        raise InvalidParameter(
            _("The description has %(limit)d characters at most.") % {"limit": MAX_NOTE_LENGTH}
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
