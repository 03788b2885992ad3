"""A run's checkpoints and files: their tab, a page for each, tagging, and resuming from one."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.roles import Role
from artifacts.checkpoint_sizes import sizes_of
from artifacts.checkpoints import resume_run
from artifacts.kinds import ArtifactType, TagValue
from artifacts.models import Artifact
from artifacts.previews import Preview, Unreadable, preview_of
from artifacts.previews.raw import raw
from core.messages import Message, Text
from dashboard.decisions import is_decided
from dashboard.forms.artifacts import TagForm
from dashboard.forms.retention import RemovalForm
from dashboard.forms.runs import RunForm
from dashboard.pages import INVALID_FORM, PageRequest, page_of, sent
from dashboard.run_header import run_context
from dashboard.views.lookups import get_artifact, get_run
from metrics.key_metrics import keys_of
from projects.permissions import requires
from registry.approval import tag_or_ask
from registry.checkpoints import rows_of
from runs.models import Run, RunCode

CHECKPOINTS_PER_PAGE = 100
FILES_PER_PAGE = 100
PARTS_SHOWN = 500


@require_safe
def checkpoints(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    run = get_run(request, project_id, run_id)
    context = {**run_context(run, "checkpoints"), **checkpoints_context(request, run)}
    return render(request, "runs/checkpoints.html", context)


def checkpoints_context(request: PageRequest, run: Run) -> dict[str, Any]:
    """A page of the run's checkpoints, by ``?page=``, and one of its files, by ``?files=``."""
    ordered = run.artifacts.for_display().select_related("run")
    page = page_of(request, ordered.checkpoints(), CHECKPOINTS_PER_PAGE)
    files = Paginator(ordered.exclude(type=ArtifactType.CHECKPOINT), FILES_PER_PAGE)
    keys = keys_of(run)
    return {
        "page": page,
        "metric_keys": keys,
        "rows": rows_of(list(page), keys),
        "files": files.get_page(request.GET.get("files")),
    }


@require_safe
def detail(request: PageRequest, project_id: str, run_id: str, artifact_id: str) -> HttpResponse:
    artifact = get_artifact(request, project_id, run_id, artifact_id)
    return render(request, "artifacts/detail.html", _context(artifact, TagForm()))


def _context(artifact: Artifact, form: TagForm) -> dict[str, Any]:
    preview, problem = _preview(artifact)
    parts = []
    if artifact.folder:
        parts = list(islice(artifact.parts(), PARTS_SHOWN))
    return {
        "artifact": artifact,
        "run": artifact.run,
        "project": artifact.run.project,
        "tags": artifact.tags.select_related("applied_by"),
        "form": form,
        "removal_form": RemovalForm(auto_id="id_removal_%s"),
        "preview": preview,
        "problem": problem,
        "parts": parts,
        "size_bytes": sizes_of([artifact])[artifact.pk],
    }


def _preview(artifact: Artifact) -> tuple[Preview | None, Text]:
    """What the file contains, or why it is not shown."""
    try:
        return preview_of(artifact), ""
    except Unreadable as error:
        return None, error.message
    except FileNotFoundError:
        return None, Message("The file's bytes are missing.")


@require_safe
@xframe_options_exempt  # the response says itself who may frame it
def raw_file(
    request: PageRequest, project_id: str, run_id: str, artifact_id: str
) -> HttpResponseBase:
    """A picture or an HTML file, for an image or a frame."""
    try:
        response = raw(request, get_artifact(request, project_id, run_id, artifact_id))
    except FileNotFoundError:
        raise Http404 from None
    if response is None:
        raise Http404
    return response


@require_POST
def tag(request: PageRequest, project_id: str, run_id: str, artifact_id: str) -> HttpResponse:
    artifact = get_artifact(request, project_id, run_id, artifact_id)
    form = TagForm(request.POST)
    if form.is_valid():
        value, notes = TagValue(form.cleaned_data["tag"]), form.cleaned_data["notes"]
        decide = partial(tag_or_ask, artifact, value, notes=notes, by=request.user)
        if is_decided(request, form, decide, artifact, value):
            return redirect("dashboard:artifact", project_id, run_id, artifact_id)
    return render(request, "artifacts/detail.html", _context(artifact, form), status=INVALID_FORM)


@requires(Role.MEMBER)
@require_http_methods(["GET", "HEAD", "POST"])
def resume(request: PageRequest, project_id: str, run_id: str, artifact_id: str) -> HttpResponse:
    """Start a new run from this checkpoint. Empty fields keep the values of the original run."""
    checkpoint = get_artifact(request, project_id, run_id, artifact_id)
    source = checkpoint.run
    form = RunForm(*sent(request), by=request.user)
    form.suggest_source(source)
    if form.is_valid():
        run = form.submit(resume_run, source, checkpoint)
        if run is not None:
            params = {"name": run.name, "step": run.start_step}
            messages.success(request, _("%(name)s resumes from step %(step)d.") % params)
            return redirect("dashboard:run", project_id, run.pk)
    context = {
        "form": form,
        "checkpoint": checkpoint,
        "run": source,
        "project": source.project,
        "kept_code": RunCode.of(source),
    }
    status = INVALID_FORM if form.errors else None
    return render(request, "runs/form.html", context, status=status)
