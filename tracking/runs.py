"""Runs of MLflow's: TrainHub's runs. What is created here is of a script started elsewhere."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
from django.contrib.auth.models import User
from django.db import transaction
from django.urls import path
from django.utils.translation import gettext as _

from runs import external, reports
from runs.models import Run, RunQuerySet
from tracking import experiments, paging
from tracking.columns import RunColumns
from tracking.conditions import where
from tracking.errors import DoesNotExist, InvalidParameter
from tracking.experiments import Limit, Tag
from tracking.filters import parse_orders
from tracking.run_json import run_info, run_json, runs_json
from tracking.vocabulary import STATUSES, USER_TAG, StatusName, ViewType, time_from
from tracking.wire import Int64, Message, endpoint, storable_text

MAX_EXPERIMENTS = 10_000
RUNS_IN_FULL = 100
RUNS_AT_A_TIME = 200
MAX_BYTES = 32 * 1024 * 1024  # of a page; a little more, as runs are read some at a time


class ById(Message):
    """Clients send the id twice, in its new and its old name."""

    run_id: str | None = None
    run_uuid: str | None = None


def run_of(caller: User, message: ById) -> Run:
    """The run that ``message`` is about. Raises DoesNotExist, InvalidParameter."""
    run_id = message.run_id or message.run_uuid
    if not run_id:
        raise InvalidParameter(_("%(field)s is missing.") % {"field": "run_id"})
    visible = Run.objects.visible_to(caller)
    run = visible.filter(pk=storable_text(run_id, name="run_id")).first()
    if run is None:
        raise DoesNotExist(_("There is no run with the id %(id)s.") % {"id": run_id})
    return run


# --- one run ---------------------------------------------------------------------------------


class Create(Message):
    experiment_id: str = experiments.DEFAULT_ID
    user_id: str | None = None
    run_name: str | None = None
    start_time: Int64 | None = None
    tags: list[Tag] | None = None


@endpoint("POST", message=Create)
def create(caller: User, message: Create) -> dict[str, Any]:
    project = experiments.experiment_of(caller, message.experiment_id)
    given = {tag.key: tag.value for tag in message.tags or ()}
    if message.user_id:
        given.setdefault(USER_TAG, message.user_id)
    name = storable_text(message.run_name or "", name="run_name")
    tags, named = reports.split_name(reports.fitting_texts(given, reports.MAX_TAG_LENGTH))
    started_at = None
    if message.start_time is not None:
        started_at = time_from(message.start_time, name="start_time")
    run = external.create_external_run(
        project, by=caller, name=name or named, tags=tags, started_at=started_at
    )
    return {"run": run_json(run.pk)}


@endpoint("GET", message=ById)
def get(caller: User, message: ById) -> dict[str, Any]:
    return {"run": run_json(run_of(caller, message).pk)}


class Update(ById):
    status: StatusName | None = None
    end_time: Int64 | None = None
    run_name: str | None = None


@endpoint("POST", message=Update)
def update(caller: User, message: Update) -> dict[str, Any]:
    run = run_of(caller, message)
    name = external.fitting(storable_text(message.run_name or "", name="run_name"))
    finished_at = None
    if message.end_time:
        finished_at = time_from(message.end_time, name="end_time")
    with transaction.atomic():
        locked = reports.reporting(run.pk)
        if name and name != locked.name:
            locked.change(name=name)
        if message.status is not None:
            status = STATUSES[message.status]
            external.report_status(locked, status, by=caller, finished_at=finished_at)
    return {"run_info": run_info(run.pk)}


@endpoint("POST", message=ById)
def delete(caller: User, message: ById) -> dict[str, Any]:
    run_of(caller, message).move_to_trash(by=caller)
    return {}


@endpoint("POST", message=ById)
def restore(caller: User, message: ById) -> dict[str, Any]:
    run_of(caller, message).restore(by=caller)
    return {}


# --- search ----------------------------------------------------------------------------------


class Search(Message):
    experiment_ids: list[str] | None = None
    filter: str | None = None
    run_view_type: ViewType | None = None
    max_results: Limit = 1000
    order_by: list[str] | None = None
    page_token: str | None = None


@endpoint("POST", message=Search)
def search(caller: User, message: Search) -> dict[str, Any]:
    """A page's ids by one query, and then their rows: sorting need not carry whole runs about."""
    columns = RunColumns()
    found = where(message.filter or "", columns)
    ordering = paging.Ordering(parse_orders(message.order_by or ()), paging.START, columns)
    runs = columns.prepare(_searched(caller, message)).filter(found)
    page = ordering.page(runs, token=message.page_token or "", limit=message.max_results)
    answered, count = _whole_runs(page.ids)
    return {"runs": answered, "next_page_token": page.token_after(count)}


def _whole_runs(ids: list[str]) -> tuple[list[orjson.Fragment], int]:
    """The runs of ``ids``, and of how many: a page ends early before it gets too large."""
    answered: list[orjson.Fragment] = []
    room = MAX_BYTES
    for start in range(0, len(ids), RUNS_AT_A_TIME):
        some = ids[start : start + RUNS_AT_A_TIME]
        for run in runs_json(some, in_full=len(ids) <= RUNS_IN_FULL):
            content = orjson.dumps(run)
            answered.append(orjson.Fragment(content))
            room -= len(content)
        if room < 0:
            return answered, min(start + RUNS_AT_A_TIME, len(ids))
    return answered, len(ids)


def _searched(caller: User, message: Search) -> RunQuerySet:
    asked = message.experiment_ids or []
    if len(asked) > MAX_EXPERIMENTS:
        raise InvalidParameter(
            _("%(limit)d experiments are the limit.") % {"limit": MAX_EXPERIMENTS}
        )
    projects = experiments.project_ids(caller, asked)
    runs = Run.objects.visible_to(caller).filter(project__in=projects)
    if message.run_view_type == "DELETED_ONLY":
        return runs.exclude(deleted_at=None)
    return runs if message.run_view_type == "ALL" else runs.kept()


# --- what it says of itself ------------------------------------------------------------------


class LogParameter(ById):
    key: str = ""
    value: str = ""


class DeleteTag(ById):
    key: str = ""


@endpoint("POST", message=LogParameter)
def log_parameter(caller: User, message: LogParameter) -> dict[str, Any]:
    reports.log_params(run_of(caller, message).pk, {message.key: message.value})
    return {}


@endpoint("POST", message=LogParameter)
def set_tag(caller: User, message: LogParameter) -> dict[str, Any]:
    reports.set_tags(run_of(caller, message).pk, {message.key: message.value})
    return {}


@endpoint("POST", message=DeleteTag)
def delete_tag(caller: User, message: DeleteTag) -> dict[str, Any]:
    if not reports.delete_tag(run_of(caller, message).pk, message.key):
        raise DoesNotExist(_("There is no tag %(key)s.") % {"key": repr(message.key)})
    return {}


class Dataset(msgspec.Struct):
    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str | None = None
    profile: str | None = None


class DatasetInputMessage(msgspec.Struct):
    dataset: Dataset
    tags: list[Tag] | None = None


class ModelInput(msgspec.Struct):
    model_id: str


class ModelOutput(msgspec.Struct):
    model_id: str
    step: Int64 = 0


class LogInputs(ById):
    datasets: list[DatasetInputMessage] | None = None
    models: list[ModelInput] | None = None


class LogOutputs(ById):
    models: list[ModelOutput] | None = None


@endpoint("POST", message=LogInputs)
def log_inputs(caller: User, message: LogInputs) -> dict[str, Any]:
    datasets = [_dataset(given) for given in message.datasets or ()]
    models = [model.model_id for model in message.models or ()]
    reports.log_inputs(run_of(caller, message).pk, datasets, models)
    return {}


def _dataset(given: DatasetInputMessage) -> dict[str, Any]:
    said = {name: text or "" for name, text in msgspec.structs.asdict(given.dataset).items()}
    return said | {"tags": {tag.key: tag.value for tag in given.tags or ()}}


@endpoint("POST", message=LogOutputs)
def log_outputs(caller: User, message: LogOutputs) -> dict[str, Any]:
    models = [(model.model_id, model.step) for model in message.models or ()]
    reports.log_outputs(run_of(caller, message).pk, models)
    return {}


PREFIX = "2.0/mlflow/runs"
urlpatterns = [
    path(f"{PREFIX}/create", create),
    path(f"{PREFIX}/get", get),
    path(f"{PREFIX}/update", update),
    path(f"{PREFIX}/delete", delete),
    path(f"{PREFIX}/restore", restore),
    path(f"{PREFIX}/search", search),
    path(f"{PREFIX}/log-parameter", log_parameter),
    path(f"{PREFIX}/set-tag", set_tag),
    path(f"{PREFIX}/delete-tag", delete_tag),
    path(f"{PREFIX}/log-inputs", log_inputs),
    path(f"{PREFIX}/outputs", log_outputs),
]
