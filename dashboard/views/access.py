"""Who may see what: teams and their members, a project's own roles, tokens."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.issuing import issue_token, revoke, service_accounts_of, tokens_managed_by
from accounts.models import ServiceAccount, Team
from accounts.models.team import NotAMember
from accounts.roles import Role, Scope
from core.exceptions import DomainError
from dashboard.forms.access import (
    MemberForm,
    NewProjectsForm,
    ServiceAccountForm,
    TeamForm,
    TeamOfProjectForm,
    TokenForm,
)
from dashboard.pages import INVALID_FORM, PageRequest, attempt
from dashboard.views.lookups import get_project
from projects import membership
from projects.permissions import requires

# --- teams -----------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
def team_list(request: PageRequest) -> HttpResponse:
    """The reader's teams, and a form for a new one."""
    form = TeamForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        team = attempt(form, Team.create, **form.cleaned_data, by=request.user)
        if team is not None:
            messages.success(request, _("The team %(name)s is created.") % {"name": team.name})
            return redirect("dashboard:team", team.pk)
    teams = Team.objects.visible_to(request.user).prefetch_related("memberships", "projects")
    context = {"teams": teams, "form": form}
    return render(request, "access/teams.html", context, status=_status(form))


@require_safe
def team(request: PageRequest, team_id: str) -> HttpResponse:
    return _team(request, get_object_or_404(Team.objects.visible_to(request.user), pk=team_id))


def _team(request: PageRequest, team: Team, **forms: Any) -> HttpResponse:
    context = {
        "team": team,
        "members": team.memberships.select_related("user").order_by("-role", "user__username"),
        "projects": team.projects.order_by("name", "id"),
        "accounts": team.service_accounts.select_related("user"),
        "own_membership": team.memberships.filter(user=request.user.pk).first(),
        "is_owner": _owns(request, team),
        "form": MemberForm(),
        "account_form": ServiceAccountForm(),
        **forms,
    }
    status = max((_status(form) or 200 for form in forms.values()), default=None)
    return render(request, "access/team.html", context, status=status)


def _owns(request: PageRequest, team: Team) -> bool:
    return Team.objects.visible_to(request.user, role=Role.OWNER).filter(pk=team.pk).exists()


def _owned(request: PageRequest, team_id: str) -> Team:
    team = get_object_or_404(Team.objects.visible_to(request.user), pk=team_id)
    if not _owns(request, team):
        raise PermissionDenied(_("Only owners of the team may do this."))
    return team


@require_POST
def team_member(request: PageRequest, team_id: str) -> HttpResponse:
    """Add a member, or change their role."""
    team = _owned(request, team_id)
    form = MemberForm(request.POST)
    if form.is_valid():
        user: User = form.cleaned_data["username"]
        role = form.cleaned_data["role"]
        if attempt(form, team.add, user, role, by=request.user) is not None:
            messages.success(request, _given(user, role))
            return redirect("dashboard:team", team.pk)
    return _team(request, team, form=form)


@require_POST
def team_leave(request: PageRequest, team_id: str, user_id: int) -> HttpResponse:
    """Remove a member; everybody may remove themselves."""
    if user_id == request.user.pk:
        team = get_object_or_404(Team.objects.visible_to(request.user), pk=team_id)
    else:
        team = _owned(request, team_id)
    member = get_object_or_404(team.memberships.select_related("user"), user=user_id)
    if _done(request, team.remove, member.user):
        messages.success(request, _("%(name)s is no longer in it.") % {"name": member.user})
        if user_id == request.user.pk:
            return redirect("dashboard:teams")
    return redirect("dashboard:team", team.pk)


@require_POST
def team_new_projects(request: PageRequest, team_id: str) -> HttpResponse:
    """Decide whether the reader's new projects belong to the team."""
    team = get_object_or_404(Team.objects.visible_to(request.user), pk=team_id)
    form = NewProjectsForm(request.POST)
    form.is_valid()  # whatever is sent for a checkbox is valid
    try:
        team.take_new_projects(request.user, form.cleaned_data["takes_new_projects"])
    except NotAMember as error:
        raise Http404(str(error.message)) from None
    messages.success(request, _("Saved."))
    return redirect("dashboard:team", team.pk)


@require_POST
def team_account(request: PageRequest, team_id: str) -> HttpResponse:
    """Create a service account, with the team's role of members."""
    team = _owned(request, team_id)
    form = ServiceAccountForm(request.POST)
    if form.is_valid():
        account = attempt(
            form, ServiceAccount.create, **form.cleaned_data, team=team, by=request.user
        )
        if account is not None:
            text = _("%(name)s is created: issue a token to it.") % {"name": account}
            messages.success(request, text)
            return redirect("dashboard:tokens")
    return _team(request, team, account_form=form)


# --- projects --------------------------------------------------------------------------------


@require_safe
def project_access(request: PageRequest, project_id: str) -> HttpResponse:
    return _project_access(request, project_id)


def _project_access(
    request: PageRequest, project_id: str, form: MemberForm | None = None
) -> HttpResponse:
    project = get_project(request, project_id)
    context = {
        "project": project,
        "members": project.roles.select_related("user").order_by("-role", "user__username"),
        "team_members": []
        if project.team is None
        else project.team.memberships.select_related("user").order_by("-role", "user__username"),
        "form": form or MemberForm(),
        "team_form": TeamOfProjectForm(project=project, by=request.user),
    }
    status = None if form is None else _status(form)
    return render(request, "access/project.html", context, status=status)


@requires(Role.OWNER)
@require_POST
def project_member(request: PageRequest, project_id: str) -> HttpResponse:
    """Give somebody a role."""
    project = get_project(request, project_id)
    form = MemberForm(request.POST)
    if form.is_valid():
        user: User = form.cleaned_data["username"]
        given = attempt(form, membership.give_role, project, user, form.cleaned_data["role"])
        if given is not None:
            messages.success(request, _given(user, form.cleaned_data["role"]))
            return redirect("dashboard:project-access", project.pk)
    return _project_access(request, project_id, form)


@requires(Role.OWNER)
@require_POST
def project_leave(request: PageRequest, project_id: str, user_id: int) -> HttpResponse:
    """Take somebody's role."""
    project = get_project(request, project_id)
    given = get_object_or_404(project.roles.select_related("user"), user=user_id)
    if _done(request, membership.take_role, project, given.user):
        messages.success(request, _("%(name)s is no longer in it.") % {"name": given.user})
    return redirect("dashboard:project-access", project.pk)


@requires(Role.OWNER)
@require_POST
def project_team(request: PageRequest, project_id: str) -> HttpResponse:
    """Give the project to a team."""
    project = get_project(request, project_id)
    form = TeamOfProjectForm(request.POST, project=project, by=request.user)
    if form.is_valid() and _done(
        request, membership.give_to_team, project, form.cleaned_data["team"]
    ):
        messages.success(request, _("Saved."))
    return redirect("dashboard:project-access", project.pk)


# --- tokens ----------------------------------------------------------------------------------


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def token_list(request: PageRequest) -> HttpResponse:
    """The reader's tokens. A new one is shown in the answer to its form, and never again."""
    form = TokenForm(request.POST if request.method == "POST" else None, by=request.user)
    context: dict[str, Any] = {}
    if form.is_valid():
        given = form.cleaned_data
        issued = attempt(
            form,
            issue_token,
            by=request.user,
            name=given["name"],
            scope=Scope(given["scope"]),
            project_id=given["project"].pk if given["project"] else None,
            days=given["days"],
            username=given.get("user", ""),
        )
        if issued is not None:
            context["issued"], context["secret"] = issued
            form = TokenForm(by=request.user)
    context["form"] = form
    context["tokens"] = tokens_managed_by(request.user).select_related("user")
    context["shows_users"] = bool(service_accounts_of(request.user))
    return render(request, "access/tokens.html", context, status=_status(form))


@require_POST
def token_revoke(request: PageRequest, token_id: str) -> HttpResponse:
    token = get_object_or_404(tokens_managed_by(request.user), pk=token_id)
    revoke(token)
    messages.success(request, _("The token %(name)s is revoked.") % {"name": token})
    return redirect("dashboard:tokens")


# ---------------------------------------------------------------------------------------------


def _status(form: Any) -> int | None:
    return INVALID_FORM if form.errors else None


def _given(user: User, role: Role) -> str:
    return _("%(name)s has the role %(role)s.") % {"name": user, "role": role.label}


def _done(request: PageRequest, action: Any, *args: Any) -> bool:
    """Whether ``action`` was done; otherwise the page says why not."""
    try:
        action(*args)
    except DomainError as error:
        messages.error(request, str(error.message))
        return False
    return True
