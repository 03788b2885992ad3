"""MLflow model versions: the numbered versions of registered models.

https://github.com/mlflow/mlflow/blob/master/mlflow/protos/model_registry.proto
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from accounts.roles import Role
from registry.approval import prepare_tag
from registry.models import TAG_OF_STAGE, ModelVersion, Stage
from tracking import paging
from tracking.columns import PROMPT_TAG, ModelVersionColumns
from tracking.conditions import where
from tracking.errors import InvalidParameter
from tracking.filters import parse_orders
from tracking.model_sources import check_remote, download_uri, get_version, source_of
from tracking.protocol import Message, endpoint
from tracking.registered_models import get_model, parse_stage
from tracking.registry_messages import (
    Address,
    Id,
    Key,
    Name,
    Number,
    Pair,
    Text,
    as_dict,
    version_json,
)

DEFAULT_ORDER: Final = ("last_updated_timestamp DESC",)
ORDER_OF_EQUALS: Final = ("name ASC", "version_number DESC")


class Create(Message):
    name: Name
    source: Address
    run_id: Id = ""
    tags: list[Pair] = msgspec.field(default_factory=list)
    run_link: Address = ""
    description: Text = ""
    model_id: Id = ""


class OfVersion(Message):
    name: Name
    version: Number


class Describe(OfVersion):
    description: Text = ""


class TransitionStage(OfVersion):
    stage: str
    archive_existing_versions: bool = False


class Search(Message):
    filter: str = ""
    max_results: Annotated[int, msgspec.Meta(ge=1, le=200_000)] = 10_000
    order_by: list[str] = msgspec.field(default_factory=list)
    page_token: str = ""


class SetTag(OfVersion):
    key: Key
    value: Text = ""


class DeleteTag(OfVersion):
    key: Key


@endpoint("POST", message=Create)
def create(caller: User, message: Create) -> dict[str, Any]:
    model = get_model(message.name, caller)
    tags = as_dict(message.tags)
    if tags.get(PROMPT_TAG) != "true":  # the text of a prompt is in its tags
        check_remote(message.source)
    source = source_of(
        message.source, run_id=message.run_id, model_id=message.model_id, caller=caller
    )
    version = model.add_version(
        source,
        run_link=message.run_link,
        description=message.description,
        tags=tags,
        by=caller,
    )
    return _response(version)


@endpoint("GET", message=OfVersion)
def get(caller: User, message: OfVersion) -> dict[str, Any]:
    return _response(get_version(message.name, message.version, caller))


@endpoint("PATCH", message=Describe)
def update(caller: User, message: Describe) -> dict[str, Any]:
    version = get_version(message.name, message.version, caller)
    version.describe(message.description)
    return _response(version)


@endpoint("DELETE", message=OfVersion, role=Role.MAINTAINER)
def delete(caller: User, message: OfVersion) -> dict[str, Any]:
    get_version(message.name, message.version, caller).remove()
    return {}


@endpoint("POST", message=TransitionStage)
def transition_stage(caller: User, message: TransitionStage) -> dict[str, Any]:
    stage = parse_stage(message.stage)
    archive_others = message.archive_existing_versions
    if archive_others and stage not in (Stage.STAGING, Stage.PRODUCTION):
        raise InvalidParameter(
            _("Existing versions can be archived only in Staging or Production, not in %(stage)s.")
            % {"stage": stage.value}
        )
    if archive_others:
        get_model(message.name, caller)  # the role for all of its versions
    version = get_version(message.name, message.version, caller)
    prepare_tag(version.checkpoint, TAG_OF_STAGE.get(stage), notes="", by=caller)
    version.move_to(stage, archive_others=archive_others, by=caller)
    return _response(version)


@endpoint("GET", message=Search)
def search(caller: User, message: Search) -> dict[str, Any]:
    columns = ModelVersionColumns()
    condition = where(message.filter, columns)
    versions = columns.prepare(ModelVersion.objects.visible_to(caller)).filter(condition)
    orders = parse_orders(message.order_by or DEFAULT_ORDER) + parse_orders(ORDER_OF_EQUALS)
    ordering = paging.Ordering(orders, paging.UPDATE, columns)
    page = ordering.page(versions, token=message.page_token, limit=message.max_results)
    rows = ModelVersion.objects.select_related("model", "created_by").prefetch_related("aliases")
    page_versions = paging.in_order(rows, page.ids)
    return {
        "model_versions": [version_json(version, version.model) for version in page_versions],
        "next_page_token": page.next_token,
    }


@endpoint("GET", message=OfVersion)
def get_download_uri(caller: User, message: OfVersion) -> dict[str, Any]:
    version = get_version(message.name, message.version, caller)
    return {"artifact_uri": download_uri(version)}


@endpoint("POST", message=SetTag)
def set_tag(caller: User, message: SetTag) -> dict[str, Any]:
    get_version(message.name, message.version, caller).set_tags({message.key: message.value})
    return {}


@endpoint("DELETE", message=DeleteTag)
def delete_tag(caller: User, message: DeleteTag) -> dict[str, Any]:
    get_version(message.name, message.version, caller).delete_tag(message.key)
    return {}


def _response(version: ModelVersion) -> dict[str, Any]:
    return {"model_version": version_json(version, version.model)}
