"""What the admin shows of allauth's tables: the links between accounts and people. The provider is
configured by settings, and the other tables stay empty."""

from allauth.account.models import EmailAddress, EmailConfirmation
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.contrib import admin

from core.admin import LargeTableAdmin

for model in (EmailAddress, EmailConfirmation, SocialAccount, SocialApp, SocialToken):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


@admin.register(SocialAccount)
class SocialAccountAdmin(LargeTableAdmin):
    """Which person at the provider signs in as whom. Deleting a link does not delete the user."""

    list_display = ("user", "provider", "uid", "date_joined", "last_login")
    list_select_related = ("user",)
    ordering = ("-id",)
    word_lookups = ("user__username__exact", "uid__exact")
    raw_id_fields = ("user",)
