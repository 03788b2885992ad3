"""MLflow's logged models: what pyfunc.log_model makes before a model has a name in the registry.

https://github.com/mlflow/mlflow/blob/master/mlflow/protos/service.proto
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Annotated, Any, Final

import msgspec
import orjson
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from artifacts.logged_models import LoggedModel, LoggedModelMetric, LoggedModelStatus
from projects.models import Project
from runs.external import create_external_run, report_status
from runs.models import Run
from runs.status import RunStatus
from tracking import filters, paging
from tracking.columns import LoggedModelColumns, MetricOnDataset
from tracking.conditions import where
from tracking.errors import InvalidParameter
from tracking.experiments import experiment_of, project_ids
from tracking.model_sources import location_of, logged_model_named, run_named
from tracking.registry_messages import (
    Id,
    Key,
    LongName,
    Pair,
    Text,
    as_dict,
    as_pairs,
    milliseconds,
)
from tracking.wire import Message, Nothing, endpoint

HISTORY_TAG: Final = "mlflow.log-model.history"
HISTORY_LENGTH: Final = 100  # a run's row is read by every list: it stays of a size
FORBIDDEN_IN_NAMES: Final = frozenset("/:.%\"'")
STATUS_TOLD: Final = {
    LoggedModelStatus.PENDING: "LOGGED_MODEL_PENDING",
    LoggedModelStatus.READY: "LOGGED_MODEL_READY",
    LoggedModelStatus.FAILED: "LOGGED_MODEL_UPLOAD_FAILED",
}
STATUSES: Final[dict[str | int, LoggedModelStatus]] = {
    **{told: status for status, told in STATUS_TOLD.items()},
    **dict(enumerate(STATUS_TOLD, start=1)),  # protobuf's numbers
}


class Create(Message):
    experiment_id: Id
    name: LongName | None = None
    model_type: LongName | None = None
    source_run_id: Id = ""
    params: list[Pair] = msgspec.field(default_factory=list)
    tags: list[Pair] = msgspec.field(default_factory=list)


class Get(Message):
    allow_deleted: bool = False


class Finalize(Message):
    status: str | int


class SetTags(Message):
    tags: list[Pair] = msgspec.field(default_factory=list)


class LogParams(Message):
    params: list[Pair] = msgspec.field(default_factory=list)


class Dataset(msgspec.Struct):
    dataset_name: Key
    dataset_digest: Text = ""


class Order(msgspec.Struct):
    field_name: Key
    ascending: bool = True
    dataset_name: Text = ""
    dataset_digest: Text = ""


class Search(Message):
    experiment_ids: list[Id] = msgspec.field(default_factory=list)
    filter: str = ""
    datasets: Annotated[list[Dataset], msgspec.Meta(max_length=50)] = msgspec.field(
        default_factory=list
    )
    max_results: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    order_by: Annotated[list[Order], msgspec.Meta(max_length=filters.MAX_ORDERS)] = msgspec.field(
        default_factory=list
    )
    page_token: str = ""


class LogModel(Message):
    run_id: Id
    model_json: Text


@endpoint("POST", message=Create)
@transaction.atomic
def create(caller: User, message: Create) -> dict[str, Any]:
    if message.name is not None and (not message.name or FORBIDDEN_IN_NAMES & {*message.name}):
        raise InvalidParameter(_("%(name)s cannot be a model's name.") % {"name": message.name})
    name = message.name or "model"
    project = experiment_of(caller, message.experiment_id)
    model = LoggedModel.objects.create(
        project=project,
        source_run=(
            run_named(message.source_run_id, caller)
            if message.source_run_id
            else _run_of_its_own(project, name, caller)
        ),
        name=name,
        model_type=message.model_type or "",
        params=as_dict(message.params),
        tags=as_dict(message.tags),
        created_by=caller,
    )
    return _answer(model)


@endpoint("GET", message=Get)
def get(caller: User, message: Get, model_id: str) -> dict[str, Any]:
    return _answer(logged_model_named(model_id, caller, deleted_too=message.allow_deleted))


@endpoint("PATCH", message=Finalize)
def finalize(caller: User, message: Finalize, model_id: str) -> dict[str, Any]:
    status = STATUSES.get(message.status)
    if status is None:
        raise InvalidParameter(_("A model cannot become %(status)s.") % {"status": message.status})
    model = logged_model_named(model_id, caller)
    model.finalize(status)
    return _answer(model)


@endpoint("DELETE", message=Nothing)
def delete(caller: User, message: Nothing, model_id: str) -> dict[str, Any]:
    logged_model_named(model_id, caller).discard()
    return {}


@endpoint("PATCH", message=SetTags)
def set_tags(caller: User, message: SetTags, model_id: str) -> dict[str, Any]:
    model = logged_model_named(model_id, caller)
    model.set_tags(as_dict(message.tags))
    return _answer(model)


@endpoint("DELETE", message=Nothing)
def delete_tag(caller: User, message: Nothing, model_id: str, tag_key: str) -> dict[str, Any]:
    logged_model_named(model_id, caller).delete_tag(tag_key)
    return {}


@endpoint("POST", message=LogParams)
def log_params(caller: User, message: LogParams, model_id: str) -> dict[str, Any]:
    logged_model_named(model_id, caller).log_params(as_dict(message.params))
    return {}


@endpoint("POST", message=Search)
def search(caller: User, message: Search) -> dict[str, Any]:
    columns = LoggedModelColumns(_measured_on(message.datasets))
    projects = project_ids(caller, message.experiment_ids)
    models = LoggedModel.objects.visible_to(caller).kept().filter(project__in=projects)
    orders = [_order(order) for order in message.order_by]
    ordering = paging.Ordering(orders, paging.CREATION, columns)
    page = ordering.page(
        models.filter(where(message.filter, columns)),
        token=message.page_token,
        limit=message.max_results,
    )
    found = paging.in_order(LoggedModel.objects.prefetch_related("metrics"), page.ids)
    return {"models": [_told(model) for model in found], "next_page_token": page.next_token}


@endpoint("POST", message=LogModel)
def log_model(caller: User, message: LogModel) -> dict[str, Any]:
    """Add a model to the run's tag that tells them all: what 2.x clients read, and all that they
    write of a model but its files. Sent twice it is there once."""
    try:
        model = orjson.loads(message.model_json)
    except orjson.JSONDecodeError:
        model = None
    if not isinstance(model, dict) or not model.keys() >= {"artifact_path", "flavors", "run_id"}:
        raise InvalidParameter(_("model_json does not tell a model."))
    run_named(message.run_id, caller)
    with transaction.atomic():
        run = Run.objects.lock(message.run_id)
        history = _history(run)
        if model not in history:
            told = json.dumps([*history, model][-HISTORY_LENGTH:])
            run.change(tags={**run.tags, HISTORY_TAG: told})
    return {}


def _run_of_its_own(project: Project, name: str, caller: User) -> Run:
    """For a model that is logged outside any run: its files are a run's artifacts, as all are."""
    run = create_external_run(project, by=caller, name=name)
    report_status(Run.objects.lock(run.pk), RunStatus.COMPLETED, by=caller)
    return run


def _history(run: Run) -> list[Any]:
    """What the tag tells; nothing if a client has set it to something else."""
    try:
        history = orjson.loads(run.tags.get(HISTORY_TAG, "[]"))
    except orjson.JSONDecodeError:
        return []
    return history if isinstance(history, list) else []


def _measured_on(datasets: Iterable[Dataset | Order]) -> Q:
    """Metrics of any of ``datasets``; of all where there are none."""
    condition = Q()
    for dataset in datasets:
        one = Q(dataset_name=dataset.dataset_name)
        if dataset.dataset_digest:
            one &= Q(dataset_digest=dataset.dataset_digest)
        condition |= one
    return condition


def _order(order: Order) -> filters.Order:
    """Its names are not quoted, whatever is in them."""
    field = order.field_name
    name = filters.Name("attribute", field.removeprefix("attributes."), 0)
    if field.startswith("metrics."):
        measured = _measured_on([order] if order.dataset_name else [])
        name = MetricOnDataset("metric", field.removeprefix("metrics."), 0, measured)
    return filters.Order(name, descending=not order.ascending)


def _answer(model: LoggedModel) -> dict[str, Any]:
    return {"model": _told(model)}


def _told(model: LoggedModel) -> dict[str, Any]:
    return {
        "info": {
            "model_id": model.pk,
            "experiment_id": model.project_id,
            "name": model.name,
            "creation_timestamp_ms": milliseconds(model.created_at),
            "last_updated_timestamp_ms": milliseconds(model.updated_at),
            "artifact_uri": location_of(model),
            "status": STATUS_TOLD[LoggedModelStatus(model.status)],
            "model_type": model.model_type,
            "source_run_id": model.source_run_id or "",
            "tags": as_pairs(model.tags),
        },
        "data": {
            "params": as_pairs(model.params),
            "metrics": [_metric_told(metric) for metric in model.metrics.all()],
        },
    }


def _metric_told(metric: LoggedModelMetric) -> dict[str, Any]:
    dataset = {"dataset_name": metric.dataset_name, "dataset_digest": metric.dataset_digest}
    return {
        "key": metric.key,
        "value": _number_told(metric.value),
        "timestamp": metric.timestamp_ms,
        "step": metric.step,
        "model_id": metric.model_id,
        "run_id": metric.run_id,
        **{name: text for name, text in dataset.items() if text},
    }


def _number_told(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
