"""MLflow metric endpoints: log-metric, log-batch, get-history.

https://mlflow.org/docs/latest/rest-api.html
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from django.contrib.auth.models import User
from django.db import transaction
from django.urls import path
from django.utils.translation import gettext as _

from accounts.permissions import sees_everything
from core.numbers import Int64, json_number
from core.times import is_time
from metrics import reading, recording
from metrics.points import InvalidPoint, Points, is_key
from metrics.recording import RunGone
from registry.logged_models import LoggedModel
from registry.queries import ModelPoint
from runs import params_tags
from runs.access import may_use_run
from runs.models import Run
from runs.reports import in_trash
from runs.system_metrics import mean_gpu_utilization, tells_gpu_utilization
from tracking.errors import InvalidParameter, Unseen
from tracking.protocol import JsonObject, Message, endpoint
from tracking.registry_messages import Digest, Id, LongName
from tracking.unseen import unseen
from tracking.vocabulary import check_time

# https://github.com/mlflow/mlflow/blob/master/mlflow/utils/validation.py
MAX_METRICS, MAX_PARAMS, MAX_TAGS, MAX_ENTITIES = 1000, 100, 100, 1000
MAX_HISTORY = 25_000


class Metric(msgspec.Struct):
    key: str
    value: float
    timestamp: Int64
    step: Int64 = 0
    # The measured logged model and the dataset it was measured on; optional.
    model_id: Id = ""
    dataset_name: LongName = ""
    dataset_digest: Digest = ""


class Entry(msgspec.Struct):
    """A param or a tag."""

    key: str
    value: str = ""


class LogMetric(Message):
    key: str
    value: float
    timestamp: Int64
    step: Int64 = 0
    run_id: str = ""
    run_uuid: str = ""
    model_id: Id = ""
    dataset_name: LongName = ""
    dataset_digest: Digest = ""


class LogBatch(Message):
    run_id: str
    metrics: list[Metric] | None = None
    params: list[Entry] | None = None
    tags: list[Entry] | None = None


class GetHistory(Message):
    metric_key: str
    run_id: str = ""
    run_uuid: str = ""
    page_token: str = ""
    max_results: Annotated[int, msgspec.Meta(ge=1)] = MAX_HISTORY


def visible_run(caller: User, run_id: str) -> str:
    """Return ``run_id`` if the caller can see such a run. Raises DoesNotExist."""
    if "\x00" in run_id:
        raise _run_not_found(run_id)
    if not may_use_run(caller, run_id):
        raise unseen(caller, Run.objects.filter(pk=run_id), str(_run_not_found(run_id)))
    return run_id


@endpoint("POST", message=LogMetric)
def log_metric(caller: User, message: LogMetric) -> JsonObject:
    run_id = visible_run(caller, message.run_id or message.run_uuid)
    metric = Metric(
        message.key,
        message.value,
        message.timestamp,
        message.step,
        message.model_id,
        message.dataset_name,
        message.dataset_digest,
    )
    _check_models(caller, [metric])
    _record(run_id, [metric])
    return {}


@endpoint("POST", message=LogBatch)
def log_batch(caller: User, message: LogBatch) -> JsonObject:
    metrics, params, tags = message.metrics or [], message.params or [], message.tags or []
    _check_limits({"metrics": metrics, "params": params, "tags": tags})
    run_id = visible_run(caller, message.run_id)
    _check_models(caller, metrics)
    if metrics and not (params or tags):
        _record(run_id, metrics)
        return {}
    params_by_key = _by_key("params", params)
    with transaction.atomic():  # a batch is all or nothing
        try:
            params_tags.log_params(run_id, params_by_key)
            if tags:
                params_tags.set_tags(run_id, {tag.key: tag.value for tag in tags})
        except Run.DoesNotExist:
            raise _run_not_found(run_id) from None
        _record(run_id, metrics)
    return {}


def _check_models(caller: User, metrics: list[Metric]) -> None:
    """Raises Unseen for a metric of a logged model that the caller may not see."""
    models = {metric.model_id for metric in metrics} - {""}
    if models and not sees_everything(caller):
        visible = LoggedModel.objects.visible_to(caller).filter(pk__in=models)
        if visible.count() < len(models):
            raise Unseen(_("Logged model %(id)s not found.") % {"id": min(models)})


def _by_key(name: str, entries: list[Entry]) -> dict[str, str]:
    """Raises InvalidParameter for a key with two different values, which would be ambiguous."""
    values = {entry.key: entry.value for entry in entries}
    for index, entry in enumerate(entries):
        if values[entry.key] != entry.value:
            raise InvalidParameter(
                _("%(name)s[%(index)d]: duplicate key %(key)r with a different value.")
                % {"name": name, "index": index, "key": entry.key}
            )
    return values


@endpoint("GET", message=GetHistory)
def get_history(caller: User, message: GetHistory) -> JsonObject:
    run_id = visible_run(caller, message.run_id or message.run_uuid)
    after = _parse_page_token(message.page_token) if message.page_token else reading.BEFORE_ALL
    limit = min(message.max_results, MAX_HISTORY)
    key = message.metric_key
    points = reading.history(run_id, key, after=after, limit=limit) if is_key(key) else []
    response: dict[str, Any] = {
        "metrics": [
            {"key": key, "value": json_number(value), "timestamp": timestamp, "step": step}
            for step, timestamp, value in points
        ]
    }
    if len(points) == limit:
        response["next_page_token"] = _page_token(points[-1])
    return response


def _page_token(last: tuple[int, int, float]) -> str:
    step, timestamp_ms, value = last
    return f"{step}:{timestamp_ms}:{value!r}"


def _parse_page_token(token: str) -> tuple[int, int, float]:
    try:
        return msgspec.convert(token.split(":"), tuple[Int64, Int64, float], strict=False)
    except msgspec.ValidationError:
        raise InvalidParameter(_("Invalid page token.")) from None


def _check_limits(batch: dict[str, list[Any]]) -> None:
    limits = {"metrics": MAX_METRICS, "params": MAX_PARAMS, "tags": MAX_TAGS}
    for name, entries in batch.items():
        if len(entries) > limits[name]:
            raise InvalidParameter(
                _("A batch can have at most %(limit)d %(name)s; this one has %(count)d.")
                % {"limit": limits[name], "name": name, "count": len(entries)}
            )
    if sum(map(len, batch.values())) > MAX_ENTITIES:
        raise InvalidParameter(
            _("A batch can have at most %(limit)d metrics, params, and tags in total.")
            % {"limit": MAX_ENTITIES}
        )


def _record(run_id: str, metrics: list[Metric]) -> None:
    timestamps_ms = [metric.timestamp for metric in metrics]
    if timestamps_ms and not (is_time(min(timestamps_ms)) and is_time(max(timestamps_ms))):
        for index, timestamp_ms in enumerate(timestamps_ms):
            check_time(timestamp_ms, name=f"metrics[{index}].timestamp")
    try:
        points = Points.checked(
            [metric.key for metric in metrics],
            [metric.step for metric in metrics],
            timestamps_ms,
            [metric.value for metric in metrics],
        )
    except InvalidPoint as error:
        raise InvalidParameter(
            _("metrics[%(index)d]: %(reason)s") % {"index": error.index, "reason": error.reason}
        ) from None
    try:
        recording.record_points(run_id, points)
    except RunGone:
        if Run.objects.filter(pk=run_id).exists():
            raise in_trash(run_id) from None
        raise _run_not_found(run_id) from None
    if tells_gpu_utilization(points.distinct_keys):
        _update_gpu_utilization(run_id)
    LoggedModel.objects.record_metrics(
        run_id, [_model_point(metric) for metric in metrics if metric.model_id]
    )


def _update_gpu_utilization(run_id: str) -> None:
    """From the client's system metrics, unless the script reports it itself."""
    with transaction.atomic():
        run = Run.objects.lock(run_id)
        utilization = mean_gpu_utilization(run.metrics)
        if recording.GPU_UTILIZATION not in run.metrics and utilization is not None:
            run.change(gpu_utilization=utilization)


def _run_not_found(run_id: str) -> Unseen:
    return Unseen(_("Run %(id)s not found.") % {"id": run_id})


def _model_point(metric: Metric) -> ModelPoint:
    return ModelPoint(
        metric.model_id,
        metric.key,
        metric.value,
        metric.timestamp,
        metric.step,
        metric.dataset_name,
        metric.dataset_digest,
    )


urlpatterns = [
    path("2.0/mlflow/runs/log-metric", log_metric),
    path("2.0/mlflow/runs/log-batch", log_batch),
    path("2.0/mlflow/metrics/get-history", get_history),
]
