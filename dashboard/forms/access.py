"""Forms of who may see what: teams, members, tokens."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts.issuing import service_accounts_of
from accounts.models import Team
from accounts.models.team import MAX_NAME_LENGTH
from accounts.models.token import MAX_NAME_LENGTH as MAX_TOKEN_NAME_LENGTH
from accounts.roles import Role, Scope
from accounts.serializers import MAX_DAYS
from projects.models import Project


class TeamForm(forms.Form):
    name = forms.CharField(label=_("name"), max_length=MAX_NAME_LENGTH)
    description = forms.CharField(label=_("description"), max_length=500, required=False)


class MemberForm(forms.Form):
    """Adds somebody, or changes their role."""

    username = forms.CharField(label=_("username"), max_length=150)
    role = forms.TypedChoiceField(
        label=_("role"),
        choices=Role,
        coerce=lambda value: Role(int(value)),
        initial=Role.MEMBER.value,
    )

    def clean_username(self) -> User:
        name = self.cleaned_data["username"]
        user = User.objects.filter(username=name, is_active=True).first()
        if user is None:
            raise forms.ValidationError(_t("There is no user %(name)s.") % {"name": name})
        return user


class NewProjectsForm(forms.Form):
    takes_new_projects = forms.BooleanField(
        label=_("New projects of mine belong to this team"), required=False
    )


class ServiceAccountForm(forms.Form):
    name = forms.SlugField(label=_("name"), max_length=100)
    description = forms.CharField(label=_("what it is for"), max_length=200, required=False)


class TeamOfProjectForm(forms.Form):
    team = forms.ModelChoiceField(
        label=_("team"), queryset=Team.objects.none(), required=False, empty_label=_("no team")
    )

    def __init__(self, data: Any = None, *, project: Project, by: User) -> None:
        """Offers the teams of ``by``, and the one that owns the project, which keeps it."""
        super().__init__(data, initial={"team": project.team_id})
        teams = Team.objects.visible_to(by) | Team.objects.filter(pk=project.team_id)
        self.fields["team"].queryset = teams  # type: ignore[attr-defined]


class TokenForm(forms.Form):
    name = forms.CharField(
        label=_("name"), max_length=MAX_TOKEN_NAME_LENGTH, help_text=_("What it is for.")
    )
    scope = forms.ChoiceField(label=_("scope"), choices=Scope, initial=Scope.WRITE)
    project = forms.ModelChoiceField(
        label=_("project"),
        queryset=Project.objects.none(),
        required=False,
        empty_label=_("all that you see"),
    )
    days = forms.IntegerField(
        label=_("expires after days"),
        min_value=1,
        max_value=MAX_DAYS,
        required=False,
        initial=90,
        help_text=_("Empty: never."),
    )
    user = forms.ChoiceField(label=_("for"), required=False)

    def __init__(self, *args: Any, by: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        projects = Project.objects.visible_to(by).order_by("name", "id")
        self.fields["project"].queryset = projects  # type: ignore[attr-defined]
        names = [(str(account), str(account)) for account in service_accounts_of(by)]
        self.fields["user"].choices = [("", _t("yourself")), *names]  # type: ignore[attr-defined]
        if not names:
            del self.fields["user"]
