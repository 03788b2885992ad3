"""Pages that change a project. Those that show one list its runs too: runs/views.py."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from projects.forms import ProjectForm
from projects.models import Project, ProjectStatus
from trainhub.pages import INVALID_FORM, PageRequest


def _project(request: PageRequest, project_id: str) -> Project:
    return get_object_or_404(Project.objects.visible_to(request.user), pk=project_id)


@require_http_methods(["GET", "HEAD", "POST"])
def create(request: PageRequest) -> HttpResponse:
    form = ProjectForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        project = Project.create(form.configuration, by=request.user)
        messages.success(request, _("The project has been created."))
        return redirect("dashboard:project", project.pk)
    status = INVALID_FORM if form.errors else None
    return render(request, "projects/form.html", {"form": form}, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: PageRequest, project_id: str) -> HttpResponse:
    project = _project(request, project_id)
    form = ProjectForm(request.POST if request.method == "POST" else None, instance=project)
    if form.is_valid():
        version = project.version
        project.revise(form.configuration, by=request.user)
        if project.version == version:
            messages.info(request, _("Nothing has changed."))
        else:
            messages.success(request, _("Saved as version %(n)d.") % {"n": project.version})
        return redirect("dashboard:project", project.pk)
    status = INVALID_FORM if form.errors else None
    return render(request, "projects/form.html", {"form": form, "project": project}, status=status)


@require_POST
def archive(request: PageRequest, project_id: str) -> HttpResponse:
    project = _project(request, project_id)
    project.set_status(ProjectStatus.ARCHIVED)
    messages.success(request, _("The project is archived and takes no new runs."))
    return redirect("dashboard:project", project.pk)


@require_POST
def reopen(request: PageRequest, project_id: str) -> HttpResponse:
    project = _project(request, project_id)
    project.set_status(ProjectStatus.ACTIVE)
    messages.success(request, _("The project takes runs again."))
    return redirect("dashboard:project", project.pk)
