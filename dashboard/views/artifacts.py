"""A run's artifacts: lists, tagging a checkpoint, and resuming from it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from artifacts.checkpoints import resume_run
from artifacts.kinds import TagValue
from dashboard.forms.artifacts import TagForm
from dashboard.forms.runs import RunForm
from dashboard.pages import INVALID_FORM, PageRequest, attempt, page_of
from dashboard.views.lookups import get_artifact, get_run
from runs.models import Run

ARTIFACTS_SHOWN = 100


@require_safe
def artifact_list(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    return render(
        request, "artifacts/_list.html", artifacts_context(get_run(request, project_id, run_id))
    )


def artifacts_context(run: Run) -> dict[str, Any]:
    """The artifacts shown on the run's page; ``artifact_count`` is None if that is all of them."""
    artifacts = list(run.artifacts.for_display()[: ARTIFACTS_SHOWN + 1])
    there_are_more = len(artifacts) > ARTIFACTS_SHOWN
    return {
        "run": run,
        "project": run.project,
        "artifacts": artifacts[:ARTIFACTS_SHOWN],
        "artifact_count": run.artifacts.count() if there_are_more else None,
    }


@require_safe
def all_artifacts(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    """One page of all artifacts of the run."""
    run = get_run(request, project_id, run_id)
    page = page_of(request, run.artifacts.for_display(), ARTIFACTS_SHOWN)
    context = {"run": run, "project": run.project, "page": page, "artifacts": page.object_list}
    return render(request, "artifacts/list.html", context)


@require_POST
def tag(request: PageRequest, project_id: str, run_id: str, artifact_id: str) -> HttpResponse:
    artifact = get_artifact(request, project_id, run_id, artifact_id)
    form = TagForm(request.POST)
    if form.is_valid():
        value, notes = TagValue(form.cleaned_data["tag"]), form.cleaned_data["notes"]
        if attempt(form, artifact.tag, value, notes=notes, by=request.user) is not None:
            params = {"name": artifact.name, "tag": value.label}
            messages.success(request, _("%(name)s is tagged %(tag)s.") % params)
            return redirect("dashboard:run", project_id, run_id)
    context = {"form": form, "artifact": artifact, "run": artifact.run}
    context["project"] = artifact.run.project
    return render(request, "artifacts/tag.html", context, status=INVALID_FORM)


@require_http_methods(["GET", "HEAD", "POST"])
def resume(request: PageRequest, project_id: str, run_id: str, artifact_id: str) -> HttpResponse:
    """Start a new run from this checkpoint. Empty fields keep the values of the original run."""
    checkpoint = get_artifact(request, project_id, run_id, artifact_id)
    source = checkpoint.run
    form = RunForm(request.POST if request.method == "POST" else None)
    form.suggest_source(source)
    if form.is_valid():
        run = attempt(form, resume_run, source, checkpoint, by=request.user, **form.configuration)
        if run is not None:
            params = {"name": run.name, "step": run.start_step}
            messages.success(request, _("%(name)s resumes from step %(step)d.") % params)
            return redirect("dashboard:run", project_id, run.pk)
    context = {"form": form, "checkpoint": checkpoint, "run": source, "project": source.project}
    status = INVALID_FORM if form.errors else None
    return render(request, "runs/form.html", context, status=status)
