"""MLflow runs, which are TrainHub runs. Runs created here are unmanaged."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
from django.contrib.auth.models import User
from django.db import transaction
from django.urls import path
from django.utils.translation import gettext as _

from accounts.permissions import script_run_of
from accounts.roles import Role
from core.numbers import Int64
from core.text import MAX_NAME_LENGTH, truncate
from runs import inputs, params_tags, unmanaged
from runs.models import Run, RunQuerySet
from runs.models.run_queryset import PARENT_TAG
from runs.reports import lock_reporting_run, truncate_texts
from tracking import experiments, paging
from tracking.columns import RunColumns
from tracking.conditions import where
from tracking.errors import DoesNotExist, InvalidParameter, MlflowError
from tracking.experiments import Limit, Tag
from tracking.filters import parse_orders
from tracking.malformed import missing
from tracking.protocol import Message, endpoint, storable_text
from tracking.run_json import run_info, run_json, runs_json
from tracking.unseen import unseen
from tracking.vocabulary import STATUSES, USER_TAG, StatusName, ViewType, time_from

MAX_EXPERIMENTS = 10_000
RUNS_IN_FULL = 100  # larger pages omit the step and timestamp of metrics
RUNS_PER_BATCH = 200
MAX_BYTES = 32 * 1024 * 1024  # per page; slightly exceeded, as runs are read in batches


class ById(Message):
    """Clients send the id under both its new and its old name."""

    run_id: str | None = None
    run_uuid: str | None = None


def get_run(caller: User, message: ById) -> Run:
    """The run that ``message`` refers to. Raises DoesNotExist, InvalidParameter."""
    run_id = message.run_id or message.run_uuid
    if not run_id:
        raise missing("run_id")
    rows = Run.objects.filter(pk=storable_text(run_id, name="run_id"))
    run: Run | None = rows.visible_to(caller).first()
    if run is None:
        raise unseen(caller, rows, _("Run %(id)s not found.") % {"id": run_id})
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
    project = experiments.get_active_experiment(caller, message.experiment_id)
    requested_tags = {tag.key: tag.value for tag in message.tags or ()}
    if message.user_id:
        requested_tags.setdefault(USER_TAG, message.user_id)
    own_run = script_run_of(caller)
    if own_run and requested_tags.get(PARENT_TAG) != own_run:
        text = _("The script of a run may create only runs that are nested in its own.")
        raise MlflowError("PERMISSION_DENIED", text)
    name = storable_text(message.run_name or "", name="run_name")
    tags, tag_name = params_tags.split_name(
        truncate_texts(requested_tags, params_tags.MAX_TAG_LENGTH)
    )
    started_at = None
    if message.start_time is not None:
        started_at = time_from(message.start_time, name="start_time")
    run = unmanaged.create_unmanaged_run(
        project, by=caller, name=name or tag_name, tags=tags, started_at=started_at
    )
    return {"run": run_json(run.pk, caller)}


@endpoint("GET", message=ById)
def get(caller: User, message: ById) -> dict[str, Any]:
    return {"run": run_json(get_run(caller, message).pk, caller)}


class Update(ById):
    status: StatusName | None = None
    end_time: Int64 | None = None
    run_name: str | None = None


@endpoint("POST", message=Update)
def update(caller: User, message: Update) -> dict[str, Any]:
    run = get_run(caller, message)
    name = truncate(storable_text(message.run_name or "", name="run_name").strip(), MAX_NAME_LENGTH)
    finished_at = None
    if message.end_time:
        finished_at = time_from(message.end_time, name="end_time")
    with transaction.atomic():
        locked = lock_reporting_run(run.pk)
        if name and name != locked.name:
            locked.change(name=name)
        if message.status is not None:
            status = STATUSES[message.status]
            unmanaged.report_status(locked, status, by=caller, finished_at=finished_at)
    return {"run_info": run_info(run.pk)}


@endpoint("POST", message=ById)
def delete(caller: User, message: ById) -> dict[str, Any]:
    get_run(caller, message).move_to_trash(by=caller)
    return {}


@endpoint("POST", message=ById)
def restore(caller: User, message: ById) -> dict[str, Any]:
    get_run(caller, message).restore(by=caller)
    return {}


# --- search ----------------------------------------------------------------------------------


class Search(Message):
    experiment_ids: list[str] | None = None
    filter: str | None = None
    run_view_type: ViewType | None = None
    max_results: Limit = 1000
    order_by: list[str] | None = None
    page_token: str | None = None


@endpoint("POST", message=Search, role=Role.VIEWER)
def search(caller: User, message: Search) -> dict[str, Any]:
    """Queries the ids of the page first and then their rows, so that sorting handles ids only."""
    columns = RunColumns()
    condition = where(message.filter or "", columns)
    ordering = paging.Ordering(parse_orders(message.order_by or ()), paging.START, columns)
    runs = columns.prepare(_searchable_runs(caller, message)).filter(condition)
    page = ordering.page(runs, token=message.page_token or "", limit=message.max_results)
    runs_on_page, count = _load_runs(page.ids, caller)
    return {"runs": runs_on_page, "next_page_token": page.token_after(count)}


def _load_runs(ids: list[str], caller: User) -> tuple[list[orjson.Fragment], int]:
    """The runs of ``ids``, and how many ids they cover: a page that gets too large ends early."""
    fragments: list[orjson.Fragment] = []
    bytes_left = MAX_BYTES
    for start in range(0, len(ids), RUNS_PER_BATCH):
        batch = ids[start : start + RUNS_PER_BATCH]
        for run in runs_json(batch, caller, in_full=len(ids) <= RUNS_IN_FULL):
            content = orjson.dumps(run)
            fragments.append(orjson.Fragment(content))
            bytes_left -= len(content)
        if bytes_left < 0:
            return fragments, min(start + RUNS_PER_BATCH, len(ids))
    return fragments, len(ids)


def _searchable_runs(caller: User, message: Search) -> RunQuerySet:
    experiment_ids = message.experiment_ids or []
    if len(experiment_ids) > MAX_EXPERIMENTS:
        raise InvalidParameter(
            _("At most %(limit)d experiments are allowed.") % {"limit": MAX_EXPERIMENTS}
        )
    projects = experiments.project_ids(caller, experiment_ids)
    runs = Run.objects.visible_to(caller).listed().filter(project__in=projects)
    if message.run_view_type == "DELETED_ONLY":
        return runs.exclude(deleted_at=None)
    return runs if message.run_view_type == "ALL" else runs.kept()


# --- params, tags, inputs, outputs -----------------------------------------------------------


class LogParameter(ById):
    key: str = ""
    value: str = ""


class DeleteTag(ById):
    key: str = ""


@endpoint("POST", message=LogParameter)
def log_parameter(caller: User, message: LogParameter) -> dict[str, Any]:
    params_tags.log_params(get_run(caller, message).pk, {message.key: message.value})
    return {}


@endpoint("POST", message=LogParameter)
def set_tag(caller: User, message: LogParameter) -> dict[str, Any]:
    params_tags.set_tags(get_run(caller, message).pk, {message.key: message.value})
    return {}


@endpoint("POST", message=DeleteTag)
def delete_tag(caller: User, message: DeleteTag) -> dict[str, Any]:
    if not params_tags.delete_tag(get_run(caller, message).pk, message.key):
        raise DoesNotExist(_("No tag with name: %(key)s.") % {"key": message.key})
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
    datasets = [_dataset(dataset) for dataset in message.datasets or ()]
    models = [model.model_id for model in message.models or ()]
    inputs.log_inputs(get_run(caller, message).pk, datasets, models)
    return {}


def _dataset(message: DatasetInputMessage) -> dict[str, Any]:
    fields = {name: text or "" for name, text in msgspec.structs.asdict(message.dataset).items()}
    return fields | {"tags": {tag.key: tag.value for tag in message.tags or ()}}


@endpoint("POST", message=LogOutputs)
def log_outputs(caller: User, message: LogOutputs) -> dict[str, Any]:
    models = [(model.model_id, model.step) for model in message.models or ()]
    inputs.log_outputs(get_run(caller, message).pk, models)
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
