"""Logged models of an MLflow server (3.x). They keep their IDs, as runs do."""

from __future__ import annotations

from typing import Final

from django.db import transaction
from django.utils.translation import gettext as _

from core.text import storable, truncate
from projects.models import Project
from registry.logged_models import LoggedModel, LoggedModelStatus
from registry.queries import ModelPoint
from runs.models import Run
from runs.unmanaged import create_keeper
from tracking.imports import messages
from tracking.imports.connection import ServerRefused
from tracking.imports.context import Context
from tracking.imports.files import copy_files, proxy_path
from tracking.imports.runs import NotImported
from tracking.logged_models import STATUSES
from tracking.model_sources import MODEL_ID, file_of

MAX_LENGTH: Final = 500  # of a name and of a type


def bring_in_logged_model(context: Context, project: Project, source: messages.LoggedModel) -> None:
    """Raises NotImported and other domain errors, ServerRefused, ServerAway, Stopped."""
    info = source.info
    if not MODEL_ID.fullmatch(info.model_id):
        raise NotImported(_("%(id)s is not a valid model ID.") % {"id": repr(info.model_id[:80])})
    model: LoggedModel | None = LoggedModel.objects.filter(pk=info.model_id).first()
    if model is None:
        model = _create(context, project, source)
        context.count("logged_models")
    elif model.project_id != project.pk:
        text = _("There is a logged model with this ID in the project %(project)s.")
        raise NotImported(text % {"project": model.project_id})
    elif model.deleted_at is not None:
        return
    _update(model, source)
    if context.with_files:
        _bring_in_files(context, model, source)


def _create(context: Context, project: Project, source: messages.LoggedModel) -> LoggedModel:
    info = source.info
    run: Run | None = Run.objects.filter(pk=info.source_run_id, project=project).first()
    name = truncate(storable(info.name), MAX_LENGTH)
    with transaction.atomic():
        model = LoggedModel.objects.create(
            id=info.model_id,
            project=project,
            source_run=run,
            run_elsewhere=info.source_run_id[:64] if run is None else "",
            keeper=create_keeper(project, by=context.owner, name=name) if run is None else None,
            name=name,
            model_type=truncate(storable(info.model_type), MAX_LENGTH),
            status=STATUSES.get(info.status, LoggedModelStatus.PENDING),
        )
        LoggedModel.objects.filter(pk=model.pk).update(
            created_at=messages.moment(info.creation_timestamp_ms),
            updated_at=messages.moment(info.last_updated_timestamp_ms),
        )
    return model


def _update(model: LoggedModel, source: messages.LoggedModel) -> None:
    """What is not here yet; what was edited here is kept."""
    params = _missing(model.params, source.data.params)
    if params:
        model.log_params(params)
    tags = _missing(model.tags, source.info.tags)
    if tags:
        model.set_tags(tags)
    status = STATUSES.get(source.info.status, LoggedModelStatus.PENDING)
    if model.status == LoggedModelStatus.PENDING != status:
        model.finalize(status)
    by_run: dict[str, list[ModelPoint]] = {}
    for metric in source.data.metrics:
        by_run.setdefault(metric.run_id, []).append(
            ModelPoint(
                model.pk,
                metric.key,
                metric.value,
                metric.timestamp,
                metric.step,
                metric.dataset_name,
                metric.dataset_digest,
            )
        )
    # Not those of other projects: an ID from there is no permission.
    here = Run.objects.filter(pk__in=by_run, project=model.project_id).values_list("pk", flat=True)
    for run_id in here:
        LoggedModel.objects.record_metrics(run_id, by_run[run_id])


def _missing(known: dict[str, str], texts: list[messages.Text]) -> dict[str, str]:
    return {
        key: storable(text) for key, text in messages.as_dict(texts).items() if key not in known
    }


def _bring_in_files(context: Context, model: LoggedModel, source: messages.LoggedModel) -> None:
    server, uri = context.server, source.info.artifact_uri
    root, target, run = proxy_path(uri), file_of(model), model.files_run
    if target is None or run is None or run.deleted_at is not None:
        return
    if not root:
        text = _("%(id)s: its files are at %(uri)s, which the server does not pass on.")
        context.complain(text % {"id": model.pk, "uri": uri})
        return
    try:
        copy_files(
            context,
            run,
            server.files_below(root),
            lambda path: server.proxied(f"{root}/{path}"),
            folder=target.path,
        )
    except ServerRefused as error:
        text = _("%(id)s: its files, at %(uri)s, cannot be read: %(why)s")
        context.complain(text % {"id": model.pk, "uri": uri, "why": error})
