"""MLflow logged models, which pyfunc.log_model creates before a model is registered.

https://github.com/mlflow/mlflow/blob/master/mlflow/protos/service.proto
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from typing import Annotated, Any, Final

import msgspec
import orjson
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet
from django.utils.translation import gettext as _

from accounts.permissions import script_run_of, sees_everything
from accounts.roles import Role
from core.numbers import json_number
from core.times import milliseconds
from registry.logged_models import LoggedModel, LoggedModelMetric, LoggedModelStatus
from runs.models import Run
from runs.reports import check_size, lock_reporting_run
from runs.unmanaged import create_keeper
from tracking import filters, paging
from tracking.columns import LoggedModelColumns, MetricOnDataset
from tracking.conditions import where
from tracking.errors import DoesNotExist, InvalidParameter, Unseen
from tracking.experiments import get_active_experiment, project_ids
from tracking.model_sources import find_run, get_logged_model, get_run, location_of
from tracking.protocol import Empty, Message, endpoint
from tracking.registry_messages import (
    Id,
    Key,
    LongName,
    Pair,
    Text,
    as_dict,
    as_pairs,
)

HISTORY_TAG: Final = "mlflow.log-model.history"
MAX_HISTORY_MODELS: Final = 100  # every run list reads the row, so its size is bounded
FORBIDDEN_IN_NAMES: Final = frozenset("/:.%\"'")
STATUS_NAMES: Final = {
    LoggedModelStatus.PENDING: "LOGGED_MODEL_PENDING",
    LoggedModelStatus.READY: "LOGGED_MODEL_READY",
    LoggedModelStatus.FAILED: "LOGGED_MODEL_UPLOAD_FAILED",
}
STATUSES: Final[dict[str | int, LoggedModelStatus]] = {
    **{name: status for status, name in STATUS_NAMES.items()},
    **dict(enumerate(STATUS_NAMES, start=1)),  # protobuf's numbers
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
        raise InvalidParameter(_("%(name)s is not a valid model name.") % {"name": message.name})
    name = message.name or f"model-{secrets.token_hex(4)}"
    project = get_active_experiment(caller, message.experiment_id)
    run_id = message.source_run_id
    run = find_run(run_id, caller) if run_id else None
    if run is None and script_run_of(caller):
        raise Unseen(_("Run %(id)s not found.") % {"id": run_id})
    model = LoggedModel.objects.create(
        project=project,
        source_run=run,
        run_elsewhere=run_id if run is None else "",
        keeper=create_keeper(project, by=caller, name=name) if run is None else None,
        name=name,
        model_type=message.model_type or "",
        params=as_dict(message.params),
        tags=as_dict(message.tags),
        created_by=caller,
    )
    return _response(model, caller)


@endpoint("GET", message=Get)
def get(caller: User, message: Get, model_id: str) -> dict[str, Any]:
    model = get_logged_model(model_id, caller, include_deleted=message.allow_deleted)
    return _response(model, caller)


@endpoint("PATCH", message=Finalize)
def finalize(caller: User, message: Finalize, model_id: str) -> dict[str, Any]:
    status = STATUSES.get(message.status)
    if status is None:
        raise InvalidParameter(
            _("%(status)s is not a valid logged model status.") % {"status": message.status}
        )
    model = get_logged_model(model_id, caller)
    model.finalize(status)
    return _response(model, caller)


@endpoint("DELETE", message=Empty)
def delete(caller: User, message: Empty, model_id: str) -> dict[str, Any]:
    get_logged_model(model_id, caller).discard()
    return {}


@endpoint("PATCH", message=SetTags)
def set_tags(caller: User, message: SetTags, model_id: str) -> dict[str, Any]:
    model = get_logged_model(model_id, caller)
    model.set_tags(as_dict(message.tags))
    return _response(model, caller)


@endpoint("DELETE", message=Empty)
def delete_tag(caller: User, message: Empty, model_id: str, tag_key: str) -> dict[str, Any]:
    if not get_logged_model(model_id, caller).delete_tag(tag_key):
        raise DoesNotExist(_("No tag with key %(key)s.") % {"key": repr(tag_key)})
    return {}


@endpoint("POST", message=LogParams)
def log_params(caller: User, message: LogParams, model_id: str) -> dict[str, Any]:
    get_logged_model(model_id, caller).log_params(as_dict(message.params))
    return {}


@endpoint("POST", message=Search, role=Role.VIEWER)
def search(caller: User, message: Search) -> dict[str, Any]:
    columns = LoggedModelColumns(_on_datasets(message.datasets))
    projects = project_ids(caller, message.experiment_ids)
    models = LoggedModel.objects.visible_to(caller).kept().filter(project__in=projects)
    if message.datasets:
        of_model = LoggedModelMetric.objects.filter(model=OuterRef("pk"))
        models = models.filter(Exists(of_model.filter(_on_datasets(message.datasets))))
    orders = [_order(order) for order in message.order_by]
    ordering = paging.Ordering(orders, paging.CREATION, columns)
    page = ordering.page(
        models.filter(where(message.filter, columns)),
        token=message.page_token,
        limit=message.max_results,
    )
    seen = Prefetch("metrics", _seen_metrics(caller))
    page_models = paging.in_order(LoggedModel.objects.prefetch_related(seen), page.ids)
    return {
        "models": [_model_json(model, model.metrics.all()) for model in page_models],
        "next_page_token": page.next_token,
    }


@endpoint("POST", message=LogModel)
def log_model(caller: User, message: LogModel) -> dict[str, Any]:
    """Add a model to the run's history tag, which 2.x clients read. They record nothing else about
    a model except its files. Idempotent. Raises InTrash, InvalidReport."""
    try:
        model = orjson.loads(message.model_json)
    except orjson.JSONDecodeError:
        model = None
    if not isinstance(model, dict) or not model.keys() >= {"artifact_path", "flavors", "run_id"}:
        raise InvalidParameter(_("model_json does not describe a model."))
    get_run(message.run_id, caller)
    with transaction.atomic():
        run = lock_reporting_run(message.run_id)
        history = _history(run)
        if model not in history:
            tags = {**run.tags, HISTORY_TAG: json.dumps([*history, model][-MAX_HISTORY_MODELS:])}
            check_size(tags)
            run.change(tags=tags)
    return {}


def _history(run: Run) -> list[Any]:
    """The models in the run's history tag; empty if a client overwrote it with something else."""
    try:
        history = orjson.loads(run.tags.get(HISTORY_TAG, "[]"))
    except orjson.JSONDecodeError:
        return []
    return history if isinstance(history, list) else []


def _on_datasets(datasets: Iterable[Dataset | Order]) -> Q:
    """Select metrics measured on any of ``datasets``; all metrics if there are none."""
    condition = Q()
    for dataset in datasets:
        on_dataset = Q(dataset_name=dataset.dataset_name)
        if dataset.dataset_digest:
            on_dataset &= Q(dataset_digest=dataset.dataset_digest)
        condition |= on_dataset
    return condition


def _order(order: Order) -> filters.Order:
    """Convert a sort order. Unlike in filters, names are never quoted."""
    field = order.field_name
    name = filters.Name("attribute", field.removeprefix("attributes."), 0)
    if field.startswith("metrics."):
        on_dataset = _on_datasets([order] if order.dataset_name else [])
        name = MetricOnDataset("metric", field.removeprefix("metrics."), 0, on_dataset)
    return filters.Order(name, descending=not order.ascending)


def _seen_metrics(caller: User) -> QuerySet[LoggedModelMetric]:
    """Those that runs have measured that the caller sees."""
    metrics = LoggedModelMetric.objects.all()
    if sees_everything(caller):
        return metrics
    return metrics.filter(run__in=Run.objects.visible_to(caller))


def _response(model: LoggedModel, caller: User) -> dict[str, Any]:
    return {"model": _model_json(model, _seen_metrics(caller).filter(model=model))}


def _model_json(model: LoggedModel, metrics: Iterable[LoggedModelMetric]) -> dict[str, Any]:
    return {
        "info": {
            "model_id": model.pk,
            "experiment_id": model.project_id,
            "name": model.name,
            "creation_timestamp_ms": milliseconds(model.created_at),
            "last_updated_timestamp_ms": milliseconds(model.updated_at),
            "artifact_uri": location_of(model),
            "status": STATUS_NAMES[LoggedModelStatus(model.status)],
            "model_type": model.model_type,
            "source_run_id": model.source_run_id or model.run_elsewhere,
            "tags": as_pairs(model.tags),
        },
        "data": {
            "params": as_pairs(model.params),
            "metrics": [_metric_json(metric) for metric in metrics],
        },
    }


def _metric_json(metric: LoggedModelMetric) -> dict[str, Any]:
    dataset = {"dataset_name": metric.dataset_name, "dataset_digest": metric.dataset_digest}
    return {
        "key": metric.key,
        "value": json_number(metric.value),
        "timestamp": metric.timestamp_ms,
        "step": metric.step,
        "model_id": metric.model_id,
        "run_id": metric.run_id,
        **{name: text for name, text in dataset.items() if text},
    }
