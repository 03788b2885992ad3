"""find_runs and get_run."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

from django.utils import timezone
from django.utils.translation import gettext as _
from msgspec import Meta

from agents.answers import Answer, small, text, time, values
from agents.lookups import ProjectId, RunId, project_of, run_of
from agents.pages import Limit, Offset
from agents.tool import Arguments, Caller, tool
from core.exceptions import InvalidInput
from core.numbers import json_number
from core.text import MAX_NAME_LENGTH
from dashboard.run_table import query
from dashboard.run_table.address import MAX_FILTER_LENGTH, Address, Sort
from dashboard.run_table.cells import EXPORTED
from dashboard.run_table.columns import Column, Kind, parse_column
from dashboard.run_table.defaults import default_columns
from dashboard.run_table.matching import Matching
from dashboard.run_table.search import denoted_status
from metrics.goals import by_importance
from metrics.key_metrics import key_metrics
from projects.models import Project
from runs.descriptions import NOTE_TAG
from runs.held_time import gpu_hours
from runs.models import Run
from runs.status import RunStatus
from tracking.errors import InvalidParameter

MAX_SHOWN: Final = 12  # hyperparameters and metrics of each run
MAX_METRICS: Final = 20  # of a run, named with their last value

ColumnName = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH)]


class InvalidFilter(InvalidInput):
    code: ClassVar[str] = "invalid_filter"


class FindRuns(Arguments, frozen=True):
    project: ProjectId = ""
    filter: Annotated[
        str,
        Meta(
            max_length=MAX_FILTER_LENGTH,
            description="Comparisons joined by and, or: min.eval_loss < 2 and params.lr <= 3e-4 "
            'and model = "llama-2-13b". metrics. (last), min., max., best. name a metric, '
            "params. a hyperparameter, tags. a tag; else name, status, who, progress, step, gpus, "
            "duration (seconds), created, started, model, dataset, recipe, failure, "
            "checkpoint_tag.",
        ),
    ] = ""
    status: Annotated[
        list[str],
        Meta(
            max_length=len(RunStatus),
            description="Any of queued, running, paused, completed, failed, cancelled.",
        ),
    ] = []  # noqa: RUF012  msgspec copies it
    name: Annotated[str, Meta(max_length=MAX_NAME_LENGTH, description="A part of the name.")] = ""
    sort: Annotated[
        str,
        Meta(
            max_length=MAX_NAME_LENGTH,
            description="A column, with - before it the greatest first: min.eval_loss, "
            "-metrics.accuracy, params.lr, -created, duration. Default: newest first.",
        ),
    ] = ""
    show: Annotated[
        list[ColumnName],
        Meta(
            max_length=MAX_SHOWN,
            description="Columns to show of each run: params.lr, metrics.loss, best.eval_loss, "
            "tags.team, gpu_hours, who. Default: what differs, and the metrics that matter.",
        ),
    ] = []  # noqa: RUF012
    limit: Limit = 10
    offset: Offset = 0


@tool("Find runs")
def find_runs(caller: Caller, given: FindRuns) -> Answer:
    """Runs of a project by name, status, hyperparameters and metrics, in any order: the best run is
    the first of sort="min.eval_loss". Answers ids and the values that matter."""
    project = project_of(caller, given.project)
    columns = _columns(given, project)
    address = Address(
        sort=_sort(given.sort),
        filter=given.filter.strip(),
        name=given.name,
        statuses=tuple(_status(status) for status in given.status),
    )
    runs = Run.objects.visible_in(project.pk, caller.user).kept()
    matching = Matching(runs, address)
    try:
        total = matching.count()
        ids = matching.ids(given.offset, given.offset + given.limit)
    except InvalidParameter as error:
        raise InvalidFilter(error.message, attr="filter") from None
    rows = [_row(row, columns) for row in query.rows(runs, ids, columns, main=None)]
    content = {"project": project.pk, "runs": rows}
    return Answer(content, rows="runs", offset=given.offset, total=total)


def _columns(given: FindRuns, project: Project) -> list[Column]:
    if given.show:
        return [_column(name, "show") for name in given.show]
    chosen = default_columns(query.known_columns(project))
    shown = [column for column in chosen if column.kind is not Kind.ATTRIBUTE][:MAX_SHOWN]
    if given.sort and (column := _column(given.sort.removeprefix("-"), "sort")) not in shown:
        shown.append(column)
    return shown


def _column(name: str, attr: str) -> Column:
    column = parse_column(name)
    if column is None or column.is_at_best:
        message = _(
            "%(name)s is no column: metrics.NAME, min.NAME, max.NAME, best.NAME, params.NAME, "
            "tags.NAME, or one of status, progress, step, created, started, duration, gpus, who."
        )
        raise InvalidInput(message % {"name": name[:80]}, attr=attr)
    return column


def _sort(name: str) -> Sort | None:
    if not name:
        return None
    column = _column(name.removeprefix("-"), "sort")
    if not column.is_sortable:
        message = _("Whether less or more of %(name)s is better is not known: sort by min. or max.")
        raise InvalidInput(message % {"name": column.key[:80]}, attr="sort")
    return Sort(column, descending=name.startswith("-"))


def _status(name: str) -> RunStatus:
    status = denoted_status(name)
    if status is None:
        listed = ", ".join(choice.slug for choice in RunStatus)
        message = _("%(name)s is no status. Known: %(known)s.")
        raise InvalidInput(message % {"name": name[:80], "known": listed}, attr="status")
    return RunStatus(status)


def _row(row: query.Row, columns: list[Column]) -> dict[str, Any]:
    run = row.run
    return {
        "id": run.pk,
        "name": text(run.name, 100),
        "status": run.status,
        "progress": round(run.progress, 3),
        "step": run.step,
        "created": time(run.created_at),
        **{column.spec: _value(column, row) for column in columns},
    }


def _value(column: Column, row: query.Row) -> Any:
    """As a file of the table has it: exact numbers, seconds, UTC."""
    is_attribute = column.kind is Kind.ATTRIBUTE
    value = EXPORTED[column.key](row) if is_attribute else row.values.get(column)
    return text(value, 100) if isinstance(value, str) else small(value)


class GetRun(Arguments, frozen=True):
    run: RunId


@tool("Get a run")
def get_run(caller: Caller, given: GetRun) -> Answer:
    """A run as it is now: status and its reason, progress, hyperparameters, tags, notes, resources,
    the metrics that matter with last and best value, and what it was resumed from."""
    run = run_of(caller, given.run)
    important = key_metrics(run)
    others = by_importance(dict.fromkeys(run.metrics, 1))
    shown = others[:MAX_METRICS]
    tags = {key: value for key, value in run.tags.items() if key != NOTE_TAG}
    content: dict[str, Any] = {
        "id": run.pk,
        "name": text(run.name),
        "project": run.project_id,
        "status": run.status,
        "reason": text(run.status_reason, 1000),
        "failure": run.failure_kind,
        "progress": round(run.progress, 4),
        "step": run.step,
        "total_steps": run.total_steps,
        "created": time(run.created_at),
        "started": time(run.started_at),
        "finished": time(run.finished_at),
        "last_report": time(run.reported_at),
        "attempt": run.attempt,
        "gpus": run.gpu_count,
        "gpu_type": run.gpu_type,
        "gpu_hours": _hours(run),
        "recipe": run.recipe_id,
        "model": text(run.model),
        "dataset": text(run.dataset),
        "priority": run.priority,
        "resumed_from": run.resumed_from_id,
        "start_step": run.start_step,
        "in_trash": run.deleted_at is not None,
        "hyperparameters": values(run.hyperparameters),
        "key_metrics": {
            metric.key: {
                "last": json_number(metric.last),
                "last_step": metric.last_step,
                "best": json_number(metric.best),
                "best_step": metric.best_step,
            }
            for metric in important
        },
        "metrics": {key: small(run.metrics[key]) for key in shown},
        "tags": values(tags, 20),
        "notes": text(run.tags.get(NOTE_TAG, ""), 1000),
        "log_lines": run.log_count,
    }
    if len(others) > len(shown):
        content["more_metrics"] = len(run.metrics) - len(shown)
    return Answer({key: value for key, value in content.items() if value not in (None, "", {})})


def _hours(run: Run) -> float | None:
    hours = gpu_hours(run, timezone.now())
    return None if hours is None else round(hours, 2)
