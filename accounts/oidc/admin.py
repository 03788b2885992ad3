"""What the admin shows of allauth's tables: the links between accounts and people. The provider is
configured by settings, and the other tables stay empty."""

from allauth.account.models import EmailAddress, EmailConfirmation
from allauth.socialaccount.models import SocialApp, SocialToken
from django.contrib import admin

for model in (EmailAddress, EmailConfirmation, SocialApp, SocialToken):
    if admin.site.is_registered(model):
        admin.site.unregister(model)
