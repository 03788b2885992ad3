"""The admin of API tokens."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from knox.admin import AuthTokenCreateForm
from knox.models import AuthToken

from accounts.oidc import admin as _of_allauth  # noqa: F401  (unregisters)
from core.admin import LargeTableAdmin

admin.site.unregister(AuthToken)


@admin.register(AuthToken)
class TokenAdmin(LargeTableAdmin):
    """Tokens are created (and shown once) and revoked. A token gives full access as its user, so
    superusers create them for any user, other users with the permission only for themselves."""

    list_display = ("beginning", "user", "created", "expiry", "valid")
    list_select_related = ("user",)
    ordering = ("-created", "pk")
    word_lookups = ("user__username__exact", "token_key__exact")
    search_help_text = _("A username, or the first 15 characters of a token.")
    raw_id_fields = ("user",)
    form = AuthTokenCreateForm

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuthToken]:
        tokens = super().get_queryset(request)
        return tokens if request.user.is_superuser else tokens.filter(user=request.user)

    def get_fields(self, request: HttpRequest, obj: AuthToken | None = None) -> Any:
        if obj is not None:
            return ("beginning", "user", "created", "expiry", "valid")
        return ("user", "expiry") if request.user.is_superuser else ("expiry",)

    def has_change_permission(self, request: HttpRequest, obj: AuthToken | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: AuthToken, form: Any, change: bool) -> None:
        if not request.user.is_superuser:
            obj.user = request.user
        super().save_model(request, obj, form, change)
        message = _t("The token (shown only once): %(token)s") % {"token": form.token}
        self.message_user(request, message, messages.WARNING)

    @admin.display(description=_("prefix"))
    def beginning(self, token: AuthToken) -> str:
        return f"{token.token_key}…"

    @admin.display(description=_("valid"), boolean=True)
    def valid(self, token: AuthToken) -> bool:
        expired = token.expiry is not None and token.expiry <= timezone.now()
        return token.user.is_active and not expired
