"""The provider that the settings name."""

from __future__ import annotations

from typing import Any, Final

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser

ID: Final = "oidc"  # in SocialAccount.provider


def is_configured() -> bool:
    return bool(settings.OIDC_ISSUER)


def name() -> str:
    """As it is called on the button; empty if there is none."""
    return str(settings.OIDC_NAME) if is_configured() else ""


def is_linked(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Whether ``user`` can sign in through the provider."""
    links: Any = SocialAccount.objects.filter(user_id=user.pk, provider=ID)
    return bool(links.exists())
