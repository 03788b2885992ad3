"""Project pages: the list, what a project is about, its versions, and the forms that change it. Its
runs are in views/run_table.py."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import Team
from accounts.roles import Role
from dashboard import project_stats
from dashboard.forms.projects import ProjectFilterForm, ProjectForm
from dashboard.pages import INVALID_FORM, PageRequest, page_of
from dashboard.views.lookups import get_project
from projects.models import Project, ProjectStatus
from projects.permissions import requires

PROJECTS_PER_PAGE = 25


@require_safe
def project_list(request: PageRequest) -> HttpResponse:
    form = ProjectFilterForm(request.GET)
    projects = form.apply(Project.objects.visible_to(request.user))
    page = page_of(request, projects, PROJECTS_PER_PAGE)
    context = {"form": form, "page": page, "rows": project_stats.project_rows(list(page))}
    return render(request, "projects/list.html", context)


@require_safe
def about(request: PageRequest, project_id: str) -> HttpResponse:
    return render(request, "projects/about.html", {"project": get_project(request, project_id)})


@require_safe
def version_list(request: PageRequest, project_id: str) -> HttpResponse:
    project = get_project(request, project_id)
    context = {"project": project, "versions": project.versions()}
    return render(request, "projects/versions.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def create(request: PageRequest) -> HttpResponse:
    form = ProjectForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        project = Project.create(form.configuration, by=request.user)
        project.show_first(form.cleaned_data["key_metrics"])
        messages.success(request, _("Project created."))
        return redirect("dashboard:project", project.pk)
    status = INVALID_FORM if form.errors else None
    context = {"form": form, "team": Team.only_one_of(request.user)}
    return render(request, "projects/form.html", context, status=status)


@requires(Role.MAINTAINER)
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: PageRequest, project_id: str) -> HttpResponse:
    project = get_project(request, project_id)
    form = ProjectForm(request.POST if request.method == "POST" else None, instance=project)
    if form.is_valid():
        version, key_metrics = project.version, project.key_metrics
        project.revise(form.configuration, by=request.user)
        project.show_first(form.cleaned_data["key_metrics"])
        if project.version != version:
            messages.success(request, _("Saved as version %(n)d.") % {"n": project.version})
        elif project.key_metrics != key_metrics:
            messages.success(request, _("Saved."))
        else:
            messages.info(request, _("No changes to save."))
        return redirect("dashboard:project", project.pk)
    status = INVALID_FORM if form.errors else None
    return render(request, "projects/form.html", {"form": form, "project": project}, status=status)


@requires(Role.MAINTAINER)
@require_POST
def archive(request: PageRequest, project_id: str) -> HttpResponse:
    project = get_project(request, project_id)
    project.set_status(ProjectStatus.ARCHIVED)
    messages.success(request, _("The project is archived and does not accept new runs."))
    return redirect("dashboard:project-about", project.pk)


@requires(Role.MAINTAINER)
@require_POST
def reopen(request: PageRequest, project_id: str) -> HttpResponse:
    project = get_project(request, project_id)
    project.set_status(ProjectStatus.ACTIVE)
    messages.success(request, _("Project reopened."))
    return redirect("dashboard:project", project.pk)
