"""Metrics in and out: log-metric, log-batch, get-history.

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
from artifacts.logged_models import LoggedModel
from artifacts.queries import ModelPoint
from runs import ingestion, metrics, reports
from runs.ingestion import RunGone, json_number
from runs.models import Run
from runs.points import InvalidPoint, Points, is_key
from tracking.errors import DoesNotExist, InvalidParameter
from tracking.registry_messages import Digest, Id, LongName
from tracking.wire import Answer, Int64, Message, endpoint

# https://github.com/mlflow/mlflow/blob/master/mlflow/utils/validation.py
MAX_METRICS, MAX_PARAMS, MAX_TAGS, MAX_ENTITIES = 1000, 100, 100, 1000
MAX_HISTORY = 25_000


class Metric(msgspec.Struct):
    key: str
    value: float
    timestamp: Int64
    step: Int64 = 0
    # The logged model that was measured, if the client says it, and on what.
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
    """The id of a run that the caller may see, if there is one. Raises DoesNotExist."""
    if "\x00" in run_id or not (
        sees_everything(caller) or Run.objects.visible_to(caller).filter(pk=run_id).exists()
    ):
        raise _no_run(run_id)
    return run_id


@endpoint("POST", message=LogMetric)
def log_metric(caller: User, message: LogMetric) -> Answer:
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
    _record(run_id, [metric])
    return {}


@endpoint("POST", message=LogBatch)
def log_batch(caller: User, message: LogBatch) -> Answer:
    metrics, params, tags = message.metrics or [], message.params or [], message.tags or []
    _check_limits({"metrics": metrics, "params": params, "tags": tags})
    run_id = visible_run(caller, message.run_id)
    if metrics and not (params or tags):
        _record(run_id, metrics)
        return {}
    texts = _texts("params", params)
    with transaction.atomic():  # all of the batch or nothing
        try:
            reports.log_params(run_id, texts)
            if tags:
                reports.set_tags(run_id, {tag.key: tag.value for tag in tags})
        except Run.DoesNotExist:
            raise _no_run(run_id) from None
        _record(run_id, metrics)
    return {}


def _texts(name: str, entries: list[Entry]) -> dict[str, str]:
    """Raises InvalidParameter where one key has two values: which is meant?"""
    texts = {entry.key: entry.value for entry in entries}
    for index, entry in enumerate(entries):
        if texts[entry.key] != entry.value:
            raise InvalidParameter(
                _("%(name)s[%(index)d]: %(key)r comes twice, with different values.")
                % {"name": name, "index": index, "key": entry.key}
            )
    return texts


@endpoint("GET", message=GetHistory)
def get_history(caller: User, message: GetHistory) -> Answer:
    run_id = visible_run(caller, message.run_id or message.run_uuid)
    after = _place(message.page_token) if message.page_token else metrics.BEFORE_ALL
    limit = min(message.max_results, MAX_HISTORY)
    key = message.metric_key
    points = metrics.history(run_id, key, after=after, limit=limit) if is_key(key) else []
    answer: dict[str, Any] = {
        "metrics": [
            {"key": key, "value": json_number(value), "timestamp": timestamp, "step": step}
            for step, timestamp, value in points
        ]
    }
    if len(points) == limit:
        answer["next_page_token"] = _page_token(points[-1])
    return answer


def _page_token(last: tuple[int, int, float]) -> str:
    step, timestamp_ms, value = last
    return f"{step}:{timestamp_ms}:{value!r}"


def _place(token: str) -> tuple[int, int, float]:
    try:
        return msgspec.convert(token.split(":"), tuple[Int64, Int64, float], strict=False)
    except msgspec.ValidationError:
        raise InvalidParameter(_("The page token is not one of ours.")) from None


def _check_limits(batch: dict[str, list[Any]]) -> None:
    limits = {"metrics": MAX_METRICS, "params": MAX_PARAMS, "tags": MAX_TAGS}
    for name, entries in batch.items():
        if len(entries) > limits[name]:
            raise InvalidParameter(
                _("A batch may hold %(limit)d %(name)s at most, and this one holds %(count)d.")
                % {"limit": limits[name], "name": name, "count": len(entries)}
            )
    if sum(map(len, batch.values())) > MAX_ENTITIES:
        raise InvalidParameter(
            _("A batch may hold %(limit)d metrics, params and tags at most.")
            % {"limit": MAX_ENTITIES}
        )


def _record(run_id: str, metrics: list[Metric]) -> None:
    try:
        points = Points.checked(
            [metric.key for metric in metrics],
            [metric.step for metric in metrics],
            [metric.timestamp for metric in metrics],
            [metric.value for metric in metrics],
        )
    except InvalidPoint as error:
        raise InvalidParameter(
            _("metrics[%(index)d]: %(reason)s") % {"index": error.index, "reason": error.reason}
        ) from None
    try:
        ingestion.record_points(run_id, points)
    except RunGone:
        raise _no_run(run_id) from None
    LoggedModel.objects.record_metrics(
        run_id, [_model_point(metric) for metric in metrics if metric.model_id]
    )


def _no_run(run_id: str) -> DoesNotExist:
    return DoesNotExist(
        _("There is no run with the id %(id)s, or it is in the trash.") % {"id": run_id}
    )


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
