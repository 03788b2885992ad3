"""MLflow's registered models: names, their tags and their aliases.

https://github.com/mlflow/mlflow/blob/master/mlflow/protos/model_registry.proto
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated, Any, Final

import msgspec
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from artifacts.registry import ModelVersion, RegisteredModel, Stage
from tracking import paging
from tracking.columns import RegisteredModelColumns
from tracking.conditions import where
from tracking.errors import DoesNotExist, InvalidParameter
from tracking.filters import parse_orders
from tracking.model_sources import version_named
from tracking.registry_messages import (
    Key,
    Name,
    Number,
    Pair,
    Text,
    as_dict,
    registered_model_as_told,
    version_as_told,
)
from tracking.wire import Message, endpoint

ALIAS: Final = re.compile(r"[\w\-]{1,255}")
RESERVED_ALIAS: Final = re.compile(r"latest|v\d+", re.IGNORECASE)


class Named(Message):
    name: Name


class Create(Named):
    tags: list[Pair] = msgspec.field(default_factory=list)
    description: Text = ""


class Rename(Named):
    new_name: Name = ""


class Describe(Named):
    description: Text = ""


class Search(Message):
    filter: str = ""
    max_results: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    order_by: list[str] = msgspec.field(default_factory=list)
    page_token: str = ""


class LatestVersions(Named):
    stages: list[str] = msgspec.field(default_factory=list)


class SetTag(Named):
    key: Key
    value: Text = ""


class DeleteTag(Named):
    key: Key


class Alias(Named):
    alias: Text


class SetAlias(Alias):
    version: Number


@endpoint("POST", message=Create)
def create(caller: User, message: Create) -> dict[str, Any]:
    model = RegisteredModel.objects.register(
        checked_name(message.name),
        description=message.description,
        tags=as_dict(message.tags),
        by=caller,
    )
    return _answer(model)


@endpoint("GET", message=Named)
def get(caller: User, message: Named) -> dict[str, Any]:
    return _answer(model_named(message.name, caller))


@endpoint("POST", message=Rename)
def rename(caller: User, message: Rename) -> dict[str, Any]:
    model = model_named(message.name, caller)
    model.rename(checked_name(message.new_name))
    return _answer(model)


@endpoint("PATCH", message=Describe)
def update(caller: User, message: Describe) -> dict[str, Any]:
    model = model_named(message.name, caller)
    model.describe(message.description)
    return _answer(model)


@endpoint("DELETE", message=Named)
def delete(caller: User, message: Named) -> dict[str, Any]:
    model_named(message.name, caller).remove()
    return {}


@endpoint("GET", message=Search)
def search(caller: User, message: Search) -> dict[str, Any]:
    columns = RegisteredModelColumns()
    models = RegisteredModel.objects.visible_to(caller).filter(where(message.filter, columns))
    ordering = paging.Ordering(parse_orders(message.order_by), paging.NAME, columns)
    page = ordering.page(models, token=message.page_token, limit=message.max_results)
    found = paging.in_order(_models(caller), page.ids)
    latest = _latest_versions(found)
    told = [registered_model_as_told(model, latest[model.pk]) for model in found]
    return {"registered_models": told, "next_page_token": page.next_token}


@endpoint("GET", "POST", message=LatestVersions)
def get_latest_versions(caller: User, message: LatestVersions) -> dict[str, Any]:
    model = model_named(message.name, caller)
    stages = [stage_named(stage) for stage in message.stages] or list(Stage)
    latest = [each for each in _latest_versions([model])[model.pk] if each.stage in stages]
    return {"model_versions": [version_as_told(version, model) for version in latest]}


@endpoint("POST", message=SetTag)
def set_tag(caller: User, message: SetTag) -> dict[str, Any]:
    model_named(message.name, caller).set_tags({message.key: message.value})
    return {}


@endpoint("DELETE", message=DeleteTag)
def delete_tag(caller: User, message: DeleteTag) -> dict[str, Any]:
    model_named(message.name, caller).delete_tag(message.key)
    return {}


@endpoint("POST", message=SetAlias)
def set_alias(caller: User, message: SetAlias) -> dict[str, Any]:
    if not ALIAS.fullmatch(message.alias) or RESERVED_ALIAS.fullmatch(message.alias):
        raise InvalidParameter(_("%(alias)s cannot be an alias.") % {"alias": message.alias})
    version = version_named(message.name, message.version, caller)
    version.model.point(message.alias, version.number, by=caller)
    return {}


@endpoint("DELETE", message=Alias)
def delete_alias(caller: User, message: Alias) -> dict[str, Any]:
    model_named(message.name, caller).aliases.filter(alias=message.alias).delete()
    return {}


@endpoint("GET", message=Alias)
def get_by_alias(caller: User, message: Alias) -> dict[str, Any]:
    model = model_named(message.name, caller)
    versions = model.versions.select_related("created_by")
    if message.alias.lower() == "latest":
        version = versions.first()  # the newest
    else:
        version = versions.filter(aliases__alias=message.alias).first()
    if version is None:
        # MLflow's own code for it, though RESOURCE_DOES_NOT_EXIST would say more.
        raise InvalidParameter(
            _("The registered model %(name)s has no alias %(alias)s.")
            % {"name": message.name, "alias": message.alias}
        )
    return {"model_version": version_as_told(version, model)}


def checked_name(name: str) -> str:
    """A name that a client can write in a URI. Raises InvalidParameter."""
    if not name.strip() or "/" in name or ":" in name or name in (".", ".."):
        raise InvalidParameter(_("%(name)s cannot be a model's name.") % {"name": name or '""'})
    return name


def stage_named(name: str) -> Stage:
    """Whatever its case. Raises InvalidParameter."""
    for stage in Stage:
        if stage.lower() == name.lower():
            return stage
    raise InvalidParameter(
        _("There is no stage %(name)s: there are %(stages)s.")
        % {"name": name, "stages": ", ".join(Stage.values)}
    )


def model_named(name: str, caller: User) -> RegisteredModel:
    model = _models(caller).filter(name=name).first()
    if model is None:
        raise DoesNotExist(_("There is no registered model %(name)s.") % {"name": name})
    return model


def _models(caller: User) -> QuerySet[RegisteredModel]:
    models = RegisteredModel.objects.visible_to(caller).select_related("created_by")
    return models.prefetch_related("aliases__version")


def _latest_versions(models: Iterable[RegisteredModel]) -> dict[str, list[ModelVersion]]:
    """By model, the newest version in each stage; one query for all."""
    latest = defaultdict(list)
    for version in (
        ModelVersion.objects.filter(model__in=models)
        .order_by("model_id", "stage", "-number")
        .distinct("model_id", "stage")
        .select_related("created_by")
        .prefetch_related("aliases")
    ):
        latest[version.model_id].append(version)
    return latest


def _answer(model: RegisteredModel) -> dict[str, Any]:
    latest = _latest_versions([model])[model.pk]
    return {"registered_model": registered_model_as_told(model, latest)}
