"""Saved views of a project's table of runs."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from accounts.roles import Role
from core.exceptions import DomainError
from dashboard.forms.run_table import SavedViewForm
from dashboard.models import SavedView
from dashboard.pages import PageRequest
from dashboard.run_table.address import Address, table_url
from dashboard.views.lookups import get_project
from projects.permissions import requires


@requires(Role.VIEWER)
@require_POST
def create(request: PageRequest, project_id: str) -> HttpResponse:
    """Save the address ``query`` under a name."""
    project = get_project(request, project_id)
    address = Address.of(QueryDict(request.POST.get("query", "")[:10_000]))
    form = SavedViewForm(request.POST)
    if not form.is_valid():
        _refuse(request, form)
        return redirect(table_url(project.pk, address.query))
    try:
        view = SavedView.create(
            project, owner=request.user, query=address.view_query, **form.cleaned_data
        )
    except DomainError as error:
        messages.error(request, str(error.message))
        return redirect(table_url(project.pk, address.query))
    messages.success(request, _("The view %(name)s is saved.") % {"name": view.name})
    return redirect(table_url(project.pk, address.but(view=view.pk)))


@requires(Role.VIEWER)
@require_POST
def change(request: PageRequest, project_id: str, view_id: str) -> HttpResponse:
    """``action``: save (the address ``query``), rename, delete, default or undefault."""
    project = get_project(request, project_id)
    visible = SavedView.objects.visible_to(request.user).filter(project=project)
    view = get_object_or_404(visible, pk=view_id)
    address = Address.of(QueryDict(request.POST.get("query", "")[:10_000]))
    action = request.POST.get("action", "")
    try:
        if action == "save":
            view.change(
                by=request.user,
                name=view.name,
                is_shared=view.is_shared,
                query=address.view_query,
            )
            messages.success(request, _("The view %(name)s is saved.") % {"name": view.name})
        elif action == "rename":
            form = SavedViewForm(request.POST)
            if form.is_valid():
                view.change(by=request.user, **form.cleaned_data)
            else:
                _refuse(request, form)
        elif action == "delete":
            view.remove(by=request.user)
            messages.success(request, _("The view %(name)s is deleted.") % {"name": view.name})
            return redirect(table_url(project.pk, address.but(view="")))
        elif action == "default":
            view.open_first_for(request.user)
        elif action == "undefault":
            view.open_no_more_for(request.user)
    except DomainError as error:
        messages.error(request, str(error.message))
    return redirect(table_url(project.pk, address.query))


def _refuse(request: PageRequest, form: SavedViewForm) -> None:
    errors = [str(error) for listed in form.errors.values() for error in listed]
    messages.error(request, " ".join(errors))
