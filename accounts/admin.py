"""The admin of teams, service accounts and API tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts.models import ServiceAccount, Team, TeamMembership, Token
from accounts.models.team import is_trusted_to_add
from accounts.oidc import admin as _of_allauth  # noqa: F401  (unregisters)
from accounts.users import user_of
from core.admin import LargeTableAdmin

if TYPE_CHECKING:
    AnyMembershipInline = admin.TabularInline[TeamMembership, Team]
    TokenModelForm = forms.ModelForm[Token]
else:
    AnyMembershipInline = admin.TabularInline
    TokenModelForm = forms.ModelForm


class MembershipInline(AnyMembershipInline):
    model = TeamMembership
    raw_id_fields = ("user",)
    readonly_fields = ("takes_new_projects",)  # for the member to decide
    extra = 0


@admin.register(Team)
class TeamAdmin(LargeTableAdmin):
    list_display = ("name", "description", "created_at")
    ordering = ("name",)
    word_lookups = ("name__icontains",)
    inlines: ClassVar[Any] = (MembershipInline,)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Decide as Team.add does, also for a user who is put in the place of another member."""
        for each in formset.forms:
            if "user" in each.changed_data:
                each.instance.takes_new_projects = is_trusted_to_add(user_of(request))
        super().save_formset(request, form, formset, change)


@admin.register(ServiceAccount)
class ServiceAccountAdmin(LargeTableAdmin):
    list_display = ("user", "team", "description", "created_by", "created_at")
    list_select_related = ("user", "team", "created_by")
    ordering = ("user__username",)
    word_lookups = ("user__username__exact", "team__name__exact")
    raw_id_fields = ("user", "team")
    exclude = ("created_by",)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request.user
        super().save_model(request, obj, form, change)


class TokenForm(TokenModelForm):
    """A new token; ``secret`` is known once it is saved."""

    secret = ""

    class Meta:
        model = Token
        fields = ("user", "name", "scope", "expires_at")

    def save(self, commit: bool = True) -> Token:
        self.secret = self.instance.renew()
        return super().save(commit)


@admin.register(Token)
class TokenAdmin(LargeTableAdmin):
    """Tokens are created (and shown once) and revoked. Superusers create them for any user, other
    users with the permission only for themselves."""

    list_display = (
        "name",
        "starting",
        "user",
        "scope",
        "created_at",
        "expires_at",
        "last_used_at",
        "valid",
    )
    list_select_related = ("user",)
    ordering = ("-created_at", "id")
    word_lookups = ("user__username__exact", "beginning__exact", "name__exact")
    search_help_text = _("A username, a name, or the first 15 characters of a token.")
    raw_id_fields = ("user",)
    form = TokenForm

    def get_queryset(self, request: HttpRequest) -> QuerySet[Token]:
        tokens = super().get_queryset(request)
        return tokens if request.user.is_superuser else tokens.filter(user=request.user)

    def get_fields(self, request: HttpRequest, obj: Token | None = None) -> Any:
        if obj is not None:
            return (*self.list_display[:4], "project_id", *self.list_display[4:])
        fields = ("name", "scope", "expires_at")
        return ("user", *fields) if request.user.is_superuser else fields

    def has_change_permission(self, request: HttpRequest, obj: Token | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Token, form: Any, change: bool) -> None:
        if not request.user.is_superuser:
            obj.user = user_of(request)
        obj.issued_by = user_of(request)
        super().save_model(request, obj, form, change)
        message = _t("The token (shown only once): %(token)s") % {"token": form.secret}
        self.message_user(request, message, messages.WARNING)

    @admin.display(description=_("beginning"))
    def starting(self, token: Token) -> str:
        return f"{token.beginning}…"

    @admin.display(description=_("valid"), boolean=True)
    def valid(self, token: Token) -> bool:
        return token.is_valid
