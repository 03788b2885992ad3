"""What the pages do with a run's artifacts: tag a checkpoint, resume from one."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from artifacts.forms import TagForm
from artifacts.models import Artifact, TagValue
from runs import actions
from runs.forms import RunForm
from trainhub.pages import INVALID_FORM, PageRequest, attempt


def _artifact(request: PageRequest, project_id: str, run_id: str, artifact_id: str) -> Artifact:
    visible = Artifact.objects.visible_to(request.user).select_related("run__project")
    return get_object_or_404(visible, pk=artifact_id, run=run_id, run__project=project_id)


@require_POST
def tag(request: PageRequest, project_id: str, run_id: str, artifact_id: str) -> HttpResponse:
    artifact = _artifact(request, project_id, run_id, artifact_id)
    form = TagForm(request.POST)
    if form.is_valid():
        value = TagValue(form.cleaned_data["tag"])
        artifact.tag(value, notes=form.cleaned_data["notes"], by=request.user)
        said = {"name": artifact.name, "tag": value.label}
        messages.success(request, _("%(name)s is tagged %(tag)s.") % said)
        return redirect("dashboard:run", project_id, run_id)
    context = {"form": form, "artifact": artifact, "run": artifact.run}
    context["project"] = artifact.run.project
    return render(request, "artifacts/tag.html", context, status=INVALID_FORM)


@require_http_methods(["GET", "HEAD", "POST"])
def resume(request: PageRequest, project_id: str, run_id: str, artifact_id: str) -> HttpResponse:
    """A new run that goes on from this checkpoint; what is left empty stays as it was."""
    checkpoint = _artifact(request, project_id, run_id, artifact_id)
    source = checkpoint.run
    form = RunForm(request.POST if request.method == "POST" else None)
    form.suggest_source(source)
    if form.is_valid():
        run = attempt(
            form, actions.resume_run, source, checkpoint, by=request.user, **form.configuration
        )
        if run is not None:
            said = {"name": run.name, "step": run.start_step}
            messages.success(request, _("%(name)s goes on from step %(step)d.") % said)
            return redirect("dashboard:run", project_id, run.pk)
    context = {"form": form, "checkpoint": checkpoint, "run": source, "project": source.project}
    status = INVALID_FORM if form.errors else None
    return render(request, "runs/form.html", context, status=status)
