"""Which checkpoints a project keeps, the trash of the others, and the use of storage."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import messages
from django.db.models import Count, Max, Sum
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from accounts.roles import Role
from artifacts import trash
from artifacts.checkpoint_deletions import CheckpointDeletion
from artifacts.storage_use import storage_report
from core.exceptions import DomainError
from dashboard.forms.retention import (
    EmptyTrashForm,
    RemovalForm,
    RetentionForm,
    StorageForm,
    initial_of,
)
from dashboard.pages import INVALID_FORM, PageRequest, attempt, page_of
from dashboard.views.lookups import get_checkpoint, get_project
from projects.models import Project
from projects.permissions import requires
from projects.sight import Sight
from registry.checkpoint_policy import (
    CheckpointPolicy,
    checked_retention,
    remove_policy,
    set_policy,
)
from registry.checkpoint_retention import Retention
from registry.retention_preview import preview

SHOWN: Final = 200  # checkpoints of a preview, in each list
DELETIONS_PER_PAGE: Final = 50
GROUPS_SHOWN: Final = 200


# --- the policy ----------------------------------------------------------------------------------


@require_safe
def policy(request: PageRequest, project_id: str) -> HttpResponse:
    """With ``?preview=1``, also what the policy would remove now."""
    project = get_project(request, project_id)
    known = CheckpointPolicy.of(project.pk)
    form = RetentionForm(initial=initial_of(known))
    asked = known.retention if known is not None and request.GET.get("preview") else None
    return _policy_page(request, project, form, asked)


def _policy_page(
    request: PageRequest, project: Project, form: RetentionForm, asked: Retention | None
) -> HttpResponse:
    """``asked``: the rules of which a preview is shown."""
    context: dict[str, Any] = {
        "project": project,
        "policy": CheckpointPolicy.of(project.pk),
        "form": form,
    }
    if asked is not None:
        found = preview(project, asked)
        context |= {
            "preview": found,
            "removed": found.removed[:SHOWN],
            "kept": found.kept[:SHOWN],
            "shows_values": bool(asked.best),
        }
    status = INVALID_FORM if form.errors else None
    return render(request, "checkpoints/retention.html", context, status=status)


@requires(Role.MAINTAINER)
@require_POST
def change(request: PageRequest, project_id: str) -> HttpResponse:
    """The button tells what to do: preview, save or remove."""
    project = get_project(request, project_id)
    if "remove" in request.POST:
        remove_policy(project, by=request.user)
        messages.success(request, _("All checkpoints are kept from now on."))
        return redirect("dashboard:checkpoint-policy", project.pk)
    form = RetentionForm(request.POST)
    if not form.is_valid():
        return _policy_page(request, project, form, None)
    if "preview" in request.POST:
        return _policy_page(request, project, form, attempt(form, checked_retention, **form.rules))
    if attempt(form, set_policy, project, by=request.user, **form.rules) is None:
        return _policy_page(request, project, form, None)
    messages.success(request, _("Saved."))
    return redirect("dashboard:checkpoint-policy", project.pk)


# --- the trash -----------------------------------------------------------------------------------


@require_safe
def trash_list(request: PageRequest, project_id: str) -> HttpResponse:
    project = get_project(request, project_id)
    deletions = CheckpointDeletion.objects.visible_to(request.user).filter(project=project)
    context = {
        "project": project,
        "page": page_of(request, deletions, DELETIONS_PER_PAGE),
        "in_trash": deletions.in_trash().aggregate(
            count=Count("pk"), size_bytes=Sum("size_bytes"), until=Max("trashed_at")
        ),
    }
    return render(request, "checkpoints/trash.html", context)


@requires(Role.MEMBER)
@require_POST
def restore(request: PageRequest, project_id: str, deletion_id: str) -> HttpResponse:
    deletion = _get_deletion(request, project_id, deletion_id)
    try:
        checkpoint = trash.restore(deletion, by=request.user)
    except DomainError as error:
        messages.error(request, str(error.message))
        return redirect("dashboard:checkpoint-trash", project_id)
    messages.success(request, _("%(name)s is back.") % {"name": checkpoint.name})
    return redirect("dashboard:artifact", project_id, checkpoint.run_id, checkpoint.pk)


def _get_deletion(request: PageRequest, project_id: str, deletion_id: str) -> CheckpointDeletion:
    """Raises Http404."""
    visible = CheckpointDeletion.objects.visible_to(request.user).filter(project=project_id)
    return get_object_or_404(visible, pk=deletion_id)


@requires(Role.MAINTAINER)
@require_POST
def purge_now(request: PageRequest, project_id: str, deletion_id: str) -> HttpResponse:
    deletion = _get_deletion(request, project_id, deletion_id)
    try:
        deletion = trash.purge_now(deletion, by=request.user)
    except DomainError as error:
        messages.error(request, str(error.message))
    else:
        params = {"name": deletion.name, "state": deletion.state_label}
        messages.success(request, _("%(name)s: %(state)s.") % params)
    return redirect("dashboard:checkpoint-trash", project_id)


@requires(Role.MAINTAINER)
@require_POST
def empty_trash(request: PageRequest, project_id: str) -> HttpResponse:
    """Of what the page has shown: more may have come since."""
    project = get_project(request, project_id)
    form = EmptyTrashForm(request.POST)
    if not form.is_valid():
        messages.error(request, str(form.errors["trashed_until"][0]))
        return redirect("dashboard:checkpoint-trash", project_id)
    until = form.cleaned_data["trashed_until"]
    count = trash.empty(project, by=request.user, until=until)
    text = ngettext(
        "%(count)d checkpoint is being deleted.", "%(count)d checkpoints are being deleted.", count
    )
    messages.success(request, text % {"count": count})
    return redirect("dashboard:checkpoint-trash", project_id)


@requires(Role.MEMBER)
@require_POST
def remove(request: PageRequest, project_id: str, run_id: str, artifact_id: str) -> HttpResponse:
    checkpoint = get_checkpoint(request, project_id, run_id, artifact_id)
    form = RemovalForm(request.POST)
    if not form.is_valid():
        messages.error(request, str(form.errors["notes"][0]))
        return redirect("dashboard:artifact", project_id, run_id, artifact_id)
    try:
        trash.remove(checkpoint, by=request.user, notes=form.cleaned_data["notes"])
    except DomainError as error:
        messages.error(request, str(error.message))
        return redirect("dashboard:artifact", project_id, run_id, artifact_id)
    messages.success(request, _("%(name)s is in the trash.") % {"name": checkpoint.name})
    return redirect("dashboard:checkpoint-trash", project_id)


# --- storage -------------------------------------------------------------------------------------


@require_safe
def storage(request: PageRequest) -> HttpResponse:
    form = StorageForm(request.GET, request.user)
    project = form.chosen_project
    found = storage_report(
        form.by_what,
        sight=Sight.of(request.user),
        project_id=None if project is None else project.pk,
        limit=GROUPS_SHOWN,
    )
    context = {"form": form, "report": found, "project": project}
    return render(request, "storage/page.html", context)
