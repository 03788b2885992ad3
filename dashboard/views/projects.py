"""Project pages: the list, one project with its runs, and the forms that change it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from dashboard import project_stats
from dashboard.forms.projects import ProjectFilterForm, ProjectForm
from dashboard.forms.runs import RunListForm
from dashboard.pages import INVALID_FORM, PageRequest, page_of
from dashboard.views.lookups import get_project, poll_status
from projects.models import Project, ProjectStatus
from runs.filters import RunFilter
from runs.models import Run
from runs.status import ACTIVE

PROJECTS_PER_PAGE = 25
RUNS_PER_PAGE = 25


@require_safe
def project_list(request: PageRequest) -> HttpResponse:
    form = ProjectFilterForm(request.GET)
    projects = form.apply(Project.objects.visible_to(request.user))
    page = page_of(request, projects, PROJECTS_PER_PAGE)
    context = {"form": form, "page": page, "rows": project_stats.project_rows(list(page))}
    return render(request, "projects/list.html", context)


@require_safe
@vary_on_headers("HX-Request")
def project_detail(request: PageRequest, project_id: str) -> HttpResponse:
    """A page of the project's runs, filtered and sorted by the query."""
    project = get_project(request, project_id)
    context = {"project": project, **_runs_of(request, project)}
    if request.htmx:
        return render(request, "runs/_list.html", context, status=poll_status(context["is_live"]))
    return render(request, "projects/detail.html", context)


@require_safe
def about(request: PageRequest, project_id: str) -> HttpResponse:
    return render(request, "projects/about.html", {"project": get_project(request, project_id)})


@require_safe
def version_list(request: PageRequest, project_id: str) -> HttpResponse:
    project = get_project(request, project_id)
    context = {"project": project, "versions": project.versions()}
    return render(request, "projects/versions.html", context)


def _runs_of(request: PageRequest, project: Project) -> dict[str, Any]:
    visible = Run.objects.visible_to(request.user).filter(project=project).kept().brief("metrics")
    page = page_of(request, RunFilter(request.GET, queryset=visible).qs, RUNS_PER_PAGE)
    return {
        "form": RunListForm(request.GET),
        "page": page,
        "is_live": any(run.status in ACTIVE for run in page.object_list),
    }


@require_http_methods(["GET", "HEAD", "POST"])
def create(request: PageRequest) -> HttpResponse:
    form = ProjectForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        project = Project.create(form.configuration, by=request.user)
        messages.success(request, _("Project created."))
        return redirect("dashboard:project", project.pk)
    status = INVALID_FORM if form.errors else None
    return render(request, "projects/form.html", {"form": form}, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: PageRequest, project_id: str) -> HttpResponse:
    project = get_project(request, project_id)
    form = ProjectForm(request.POST if request.method == "POST" else None, instance=project)
    if form.is_valid():
        version = project.version
        project.revise(form.configuration, by=request.user)
        if project.version == version:
            messages.info(request, _("No changes to save."))
        else:
            messages.success(request, _("Saved as version %(n)d.") % {"n": project.version})
        return redirect("dashboard:project", project.pk)
    status = INVALID_FORM if form.errors else None
    return render(request, "projects/form.html", {"form": form, "project": project}, status=status)


@require_POST
def archive(request: PageRequest, project_id: str) -> HttpResponse:
    project = get_project(request, project_id)
    project.set_status(ProjectStatus.ARCHIVED)
    messages.success(request, _("The project is archived and does not accept new runs."))
    return redirect("dashboard:project-about", project.pk)


@require_POST
def reopen(request: PageRequest, project_id: str) -> HttpResponse:
    project = get_project(request, project_id)
    project.set_status(ProjectStatus.ACTIVE)
    messages.success(request, _("Project reopened."))
    return redirect("dashboard:project", project.pk)
