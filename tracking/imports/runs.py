"""A run of an MLflow server, with all points of its metrics and its files.

It keeps its ID, so that what names it (tags, model sources, notebooks) finds it here. Until all of
it has arrived, it is hidden: it is there whole or not at all, and the next import of an interrupted
one completes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.utils.translation import gettext as _

from core.exceptions import DomainError
from core.messages import Message
from core.text import MAX_NAME_LENGTH, storable, truncate
from core.times import YEAR_9999_MS
from metrics.imports.descriptions import describe
from metrics.models import MetricSeries
from metrics.points import Points, invalid_key, is_key
from metrics.recording import record_points
from projects.models import Project
from runs import inputs, unmanaged
from runs.models import EventKind, Run
from runs.params_tags import MAX_TAG_LENGTH, NAME_TAG, set_tags
from runs.status import TERMINAL, RunStatus
from tracking.imports import messages
from tracking.imports.context import Context
from tracking.imports.files import bring_in_files
from tracking.vocabulary import STATUSES, USER_TAG

RUN_ID: Final = re.compile(r"[A-Za-z0-9_\-]{1,32}")
NOBODY: Final = "unknown"  # the user of a run whose client has named none


class NotImported(DomainError):
    code = "not_imported"


def bring_in_run(context: Context, project: Project, run_id: str) -> None:
    """Bring in the run ``run_id``, or what it has become since it was brought in.

    Raises NotImported and other domain errors, ServerRefused, ServerAway, Stopped.
    """
    run = _known(project, run_id)
    if run is not None and run.deleted_at is not None:
        context.count("runs_in_trash")
        return
    source = context.server.run(run_id)
    if run is None:
        run = _create(context, project, source)
    points = _bring_in_points(context, run, source)
    has_more = _describe(run, source)
    files = bring_in_files(context, run, source) if context.with_files else 0
    if run.is_hidden:
        _show(project, run, source)
        context.count("runs_new")
    else:
        has_changed = _follow_status(run, source)
        is_same = not (points or files or has_more or has_changed)
        context.count("runs_unchanged" if is_same else "runs_continued")


def _known(project: Project, run_id: str) -> Run | None:
    """Raises NotImported."""
    if not RUN_ID.fullmatch(run_id):
        raise NotImported(_("%(id)s is not a valid run ID.") % {"id": repr(run_id[:80])})
    run: Run | None = Run.objects.filter(pk=run_id).first()
    if run is not None and run.project_id != project.pk:
        text = _("There is a run with this ID in the project %(project)s.")
        raise NotImported(text % {"project": run.project_id})
    return run


# --- a new run -------------------------------------------------------------------------------


def _create(context: Context, project: Project, source: messages.Run) -> Run:
    info = source.info
    started_at = messages.moment(_start_ms(source))
    status = STATUSES.get(info.status, RunStatus.RUNNING)
    run = Run(
        id=info.run_id,
        project=project,
        project_version=project.version,
        name=_name(source),
        model=project.base_model,
        status=status,
        started_at=started_at,
        finished_at=_end(source) if status in TERMINAL else None,
        reported_at=started_at,
        progress=1.0 if status == RunStatus.COMPLETED else 0.0,
        is_hidden=True,
    )
    with transaction.atomic():
        run.save(force_insert=True)
        # Lists show the newest first: in the order in which they began, not that of the import.
        Run.objects.filter(pk=run.pk).update(created_at=started_at)
        reason = Message("Imported from %(source)s.", source=context.server.address)
        run.note(EventKind.CREATED, to_status=status, reason=reason)
    return run


def _show(project: Project, run: Run, source: messages.Run) -> None:
    """The run is whole: list it."""
    with transaction.atomic():
        project.allocate_run_number()  # raises ProjectArchived
        changes: dict[str, Any] = {"is_hidden": False, "reported_at": _last_sign(source)}
        if source.info.is_deleted:
            changes["deleted_at"] = _end(source)
        Run.objects.lock(run.pk).change(**changes)


# --- what it consists of ---------------------------------------------------------------------


def _bring_in_points(context: Context, run: Run, source: messages.Run) -> int:
    """Store the points of the metrics whose latest point is not here; return how many are new."""
    stored = {} if run.is_hidden else _latest(run)
    added = 0
    for metric in source.data.metrics:
        if stored.get(metric.key) == _place(metric):
            continue
        if not is_key(metric.key):
            context.complain(f"{run.pk}: {invalid_key()}")
            continue
        before = _count(run, metric.key)
        for page in context.server.history(source.info.run_id, metric.key):
            record_points(
                run.pk,
                Points.in_columns(
                    [metric.key] * len(page),
                    [point.step for point in page],
                    [min(max(point.timestamp, 0), YEAR_9999_MS) for point in page],
                    [point.value for point in page],
                ),
            )
        added += _count(run, metric.key) - before
    context.count("points", added)
    return added


def _latest(run: Run) -> dict[str, tuple[int, int, str]]:
    columns = ("key", "last_step", "last_timestamp_ms", "last_value")
    return {
        key: (step, timestamp_ms, repr(value))  # NaN equals itself as text only
        for key, step, timestamp_ms, value in run.series.values_list(*columns)
    }


def _place(metric: messages.Metric) -> tuple[int, int, str]:
    return metric.step, metric.timestamp, repr(float(metric.value))


def _count(run: Run, key: str) -> int:
    row = MetricSeries.objects.filter(run=run, key=key).values_list("count", flat=True).first()
    return row or 0


def _describe(run: Run, source: messages.Run) -> bool:
    """Add the params, tags and datasets that the run lacks; while it goes on here, its tags follow
    those of the source. Return whether that has changed anything."""
    params = messages.as_dict(source.data.params)
    tags = messages.as_dict(source.data.tags)
    tags.pop(NAME_TAG, None)
    if source.info.user_id not in {"", NOBODY}:
        tags.setdefault(USER_TAG, source.info.user_id)
    with transaction.atomic():
        locked = Run.objects.lock(run.pk)
        before = (locked.hyperparameters, locked.tags)
        describe(locked, params, tags)
        if not locked.is_terminal:
            set_tags(run.pk, _other_texts(locked, tags))
        _link(run.pk, source)
        after = Run.objects.get(pk=run.pk)
        if not run.is_hidden:  # an import is no sign of life
            after.change(reported_at=_last_sign(source))
    return before != (after.hyperparameters, after.tags)


def _other_texts(run: Run, tags: Mapping[str, str]) -> dict[str, str]:
    return {
        key: truncate(storable(text), MAX_TAG_LENGTH)
        for key, text in tags.items()
        if key in run.tags
    }


def _link(run_id: str, source: messages.Run) -> None:
    datasets = [
        {
            "name": storable(entry.dataset.name),
            "digest": entry.dataset.digest,
            "source_type": entry.dataset.source_type,
            "source": storable(entry.dataset.source),
            "schema": storable(entry.dataset.schema),
            "profile": storable(entry.dataset.profile),
            "tags": messages.as_dict(entry.tags),
        }
        for entry in source.inputs.dataset_inputs
    ]
    models = [model.model_id for model in source.inputs.model_inputs]
    if datasets or models:
        inputs.log_inputs(run_id, datasets, models)
    outputs = [(model.model_id, model.step) for model in source.outputs.model_outputs]
    if outputs:
        inputs.log_outputs(run_id, outputs)


# --- a run that has gone on -------------------------------------------------------------------


def _follow_status(run: Run, source: messages.Run) -> bool:
    """Make the run what it has become there. What was ended or reopened here by a user or by its
    script stays, unless the source has ended otherwise."""
    status = STATUSES.get(source.info.status, RunStatus.RUNNING)
    with transaction.atomic():
        locked = Run.objects.lock(run.pk)
        if locked.status == status or status not in TERMINAL:
            return False
        if locked.is_terminal:
            if locked.lost_at is None:
                return False
            unmanaged.report_status(locked, RunStatus.RUNNING, by=None)
        unmanaged.report_status(locked, status, by=None, finished_at=_end(source))
        locked.change(reported_at=_last_sign(source))
    return True


# --- names and times --------------------------------------------------------------------------


def _name(source: messages.Run) -> str:
    tags = messages.as_dict(source.data.tags)
    name = source.info.run_name or tags.get(NAME_TAG, "")
    return truncate(storable(name).strip(), MAX_NAME_LENGTH) or source.info.run_id


def _start_ms(source: messages.Run) -> int:
    if source.info.start_time:
        return source.info.start_time
    times = [metric.timestamp for metric in source.data.metrics]
    return min(times, default=source.info.end_time or 0)


def _end(source: messages.Run) -> datetime:
    """When it ended; the last that is known of it if nobody has said so."""
    if source.info.end_time:
        return messages.moment(source.info.end_time)
    return _last_sign(source)


def _last_sign(source: messages.Run) -> datetime:
    """When the training last reported anything, as far as the server tells."""
    times = [metric.timestamp for metric in source.data.metrics]
    return messages.moment(max([_start_ms(source), source.info.end_time or 0, *times]))
