"""MLflow registered models: names, tags, and aliases.

https://github.com/mlflow/mlflow/blob/master/mlflow/protos/model_registry.proto
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated, Any, Final

import msgspec
from django.contrib.auth.models import User
from django.db.models import Prefetch, QuerySet
from django.utils.translation import gettext as _

from accounts.roles import Role
from registry.approval import prepare_tag
from registry.models import TAG_OF_ALIAS, ModelAlias, ModelVersion, RegisteredModel, Stage
from tracking import paging
from tracking.columns import RegisteredModelColumns
from tracking.conditions import where
from tracking.errors import InvalidParameter
from tracking.filters import parse_orders
from tracking.model_sources import get_version
from tracking.protocol import Message, endpoint
from tracking.registry_messages import (
    Key,
    Name,
    Number,
    Pair,
    Text,
    as_dict,
    registered_model_json,
    version_json,
)
from tracking.unseen import unseen

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
    return _response(model, caller)


@endpoint("GET", message=Named)
def get(caller: User, message: Named) -> dict[str, Any]:
    return _response(get_model(message.name, caller), caller)


@endpoint("POST", message=Rename, role=Role.MAINTAINER)
def rename(caller: User, message: Rename) -> dict[str, Any]:
    model = get_model(message.name, caller)
    model.rename(checked_name(message.new_name))
    return _response(model, caller)


@endpoint("PATCH", message=Describe)
def update(caller: User, message: Describe) -> dict[str, Any]:
    model = get_model(message.name, caller)
    model.describe(message.description)
    return _response(model, caller)


@endpoint("DELETE", message=Named, role=Role.MAINTAINER)
def delete(caller: User, message: Named) -> dict[str, Any]:
    get_model(message.name, caller).remove()
    return {}


@endpoint("GET", message=Search)
def search(caller: User, message: Search) -> dict[str, Any]:
    columns = RegisteredModelColumns()
    condition = where(message.filter, columns)
    models = columns.prepare(RegisteredModel.objects.visible_to(caller)).filter(condition)
    ordering = paging.Ordering(parse_orders(message.order_by), paging.NAME, columns)
    page = ordering.page(models, token=message.page_token, limit=message.max_results)
    page_models = paging.in_order(_models(caller), page.ids)
    latest = _latest_versions(page_models, caller)
    return {
        "registered_models": [
            registered_model_json(model, latest[model.pk]) for model in page_models
        ],
        "next_page_token": page.next_token,
    }


@endpoint("GET", "POST", message=LatestVersions, role=Role.VIEWER)
def get_latest_versions(caller: User, message: LatestVersions) -> dict[str, Any]:
    model = get_model(message.name, caller)
    stages = [parse_stage(stage) for stage in message.stages] or list(Stage)
    versions = [v for v in _latest_versions([model], caller)[model.pk] if v.stage in stages]
    return {"model_versions": [version_json(version, model) for version in versions]}


@endpoint("POST", message=SetTag)
def set_tag(caller: User, message: SetTag) -> dict[str, Any]:
    get_model(message.name, caller).set_tags({message.key: message.value})
    return {}


@endpoint("DELETE", message=DeleteTag)
def delete_tag(caller: User, message: DeleteTag) -> dict[str, Any]:
    get_model(message.name, caller).delete_tag(message.key)
    return {}


@endpoint("POST", message=SetAlias)
def set_alias(caller: User, message: SetAlias) -> dict[str, Any]:
    if not ALIAS.fullmatch(message.alias) or RESERVED_ALIAS.fullmatch(message.alias):
        raise InvalidParameter(_("%(alias)s is not a valid alias.") % {"alias": message.alias})
    model = get_model(message.name, caller)
    version = get_version(message.name, message.version, caller)
    prepare_tag(version.checkpoint, TAG_OF_ALIAS.get(message.alias), notes="", by=caller)
    model.set_alias(message.alias, version.number, by=caller)
    return {}


@endpoint("DELETE", message=Alias)
def delete_alias(caller: User, message: Alias) -> dict[str, Any]:
    get_model(message.name, caller).delete_alias(message.alias, by=caller)
    return {}


@endpoint("GET", message=Alias)
def get_by_alias(caller: User, message: Alias) -> dict[str, Any]:
    model = get_model(message.name, caller)
    versions = model.versions.visible_to(caller).select_related("created_by")
    if message.alias.lower() == "latest":
        version = versions.first()  # the newest
    else:
        version = versions.filter(aliases__alias=message.alias).first()
    if version is None:
        # The code that MLflow returns, though RESOURCE_DOES_NOT_EXIST would be more precise.
        raise InvalidParameter(
            _("Registered model %(name)s has no alias %(alias)s.")
            % {"name": message.name, "alias": message.alias}
        )
    return {"model_version": version_json(version, model)}


def checked_name(name: str) -> str:
    """Return ``name`` if clients can use it in a URI. Raises InvalidParameter."""
    if not name.strip() or "/" in name or ":" in name or name in (".", ".."):
        raise InvalidParameter(_("%(name)s is not a valid model name.") % {"name": name or '""'})
    return name


def parse_stage(name: str) -> Stage:
    """Case-insensitive. Raises InvalidParameter."""
    for stage in Stage:
        if stage.lower() == name.lower():
            return stage
    raise InvalidParameter(
        _("Unknown stage %(name)s; expected one of %(stages)s.")
        % {"name": name, "stages": ", ".join(Stage.values)}
    )


def get_model(name: str, caller: User) -> RegisteredModel:
    model = _models(caller).filter(name=name).first()
    if model is None:
        rows = RegisteredModel.objects.filter(name=name)
        text = _("Registered Model with name=%(name)s not found.") % {"name": name}
        raise unseen(caller, rows, text)
    return model


def _models(caller: User) -> QuerySet[RegisteredModel]:
    models = RegisteredModel.objects.visible_to(caller).select_related("created_by")
    return models.prefetch_related(Prefetch("aliases", _aliases(caller)))


def _aliases(caller: User) -> QuerySet[ModelAlias]:
    """Those of versions that the caller sees."""
    visible = ModelVersion.objects.visible_to(caller)
    return ModelAlias.objects.filter(version__in=visible).select_related("version")


def _latest_versions(
    models: Iterable[RegisteredModel], caller: User
) -> dict[str, list[ModelVersion]]:
    """The newest version in each stage that the caller sees, by model id; one query for all."""
    latest = defaultdict(list)
    for version in (
        ModelVersion.objects.visible_to(caller)
        .filter(model__in=models)
        .order_by("model_id", "stage", "-number")
        .distinct("model_id", "stage")
        .select_related("created_by")
        .prefetch_related("aliases")
    ):
        latest[version.model_id].append(version)
    return latest


def _response(model: RegisteredModel, caller: User) -> dict[str, Any]:
    latest = _latest_versions([model], caller)[model.pk]
    return {"registered_model": registered_model_json(model, latest)}
