"""Which people of the provider get in, and as whom. allauth calls these.

An account is known by the provider's subject (``sub``) alone. An e-mail address never leads to an
account: whoever controls one at the provider would take over the account of its owner here.
"""

from __future__ import annotations

import logging
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialLogin
from allauth.socialaccount.providers.base import AuthProcess
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.oidc.claims import (
    claims_of,
    is_of_allowed_domain,
    is_of_one_person,
    operator_status,
    verified_email,
)
from core.exceptions import DomainError

logger = logging.getLogger(__name__)


class SignInRefused(DomainError):
    """The provider has told who it is, and that person does not get in."""

    code = "sign_in_refused"
    status_code = 403


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    def add_message(self, *args: Any, **kwargs: Any) -> None:
        """None of allauth's: that one is signed in can be seen."""


class ProviderAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Raises SignInRefused."""
        claims = claims_of(sociallogin.account.extra_data)
        objection = _objection_to(request, sociallogin)
        if objection is not None:
            logger.warning("sign-in refused for sub %r: %s", claims.get("sub"), objection)
            _tell_refusal(request, sociallogin.user.get_username(), "not admitted")
            raise SignInRefused(objection)
        if not sociallogin.is_existing:
            sociallogin.email_addresses = []  # allauth's own table of them is not used
            sociallogin.user.email = verified_email(claims)
        if sociallogin.state.get("process") != AuthProcess.CONNECT:
            _set_operator(sociallogin.user, operator_status(claims))

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: Any = None,
        exception: Exception | None = None,
        extra_context: Any = None,
    ) -> None:
        """Raises SignInRefused."""
        logger.warning("sign-in by OpenID Connect failed: %s %s", error, exception or "")
        _tell_refusal(request, "", "failed at the provider")
        raise SignInRefused(_("Signing in was cancelled, or has failed. Try again."))

    def get_connect_redirect_url(self, request: HttpRequest, socialaccount: SocialAccount) -> str:
        return reverse("password_change")

    def is_auto_signup_allowed(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """Always, without a form: ``pre_social_login`` has decided."""
        return True


def _tell_refusal(request: HttpRequest, username: str, reason: str) -> None:
    """As Django does for passwords."""
    credentials = {"username": username, "reason": f"OpenID Connect: {reason}"}
    user_login_failed.send(sender=__name__, credentials=credentials, request=request)


def _objection_to(request: HttpRequest, login: SocialLogin) -> str | Promise | None:
    """Why this person does not get in, None if there is no reason."""
    data = login.account.extra_data
    if not is_of_one_person(data):
        return _("The answers of the sign-in provider contradict each other.")
    if not is_of_allowed_domain(verified_email(claims_of(data))):
        return _("Your e-mail address is not of a domain that may sign in here, or not verified.")
    if login.state.get("process") == AuthProcess.CONNECT:
        taken = login.is_existing and login.user != request.user
        return _("It is linked to another account already.") if taken else None
    if login.is_existing:
        return None if login.user.is_active else _("This account has been deactivated.")
    if settings.OIDC_CREATE_USERS:
        return None
    return _(
        "You have no account here yet. If you have one with a password, sign in with it and link "
        "it on the page of your password; otherwise ask an operator."
    )


def _set_operator(user: User, status: bool | None) -> None:
    """Where a claim makes operators, it alone does, anew at each sign-in."""
    if status is None or (user.is_staff, user.is_superuser) == (status, status):
        return
    user.is_staff = user.is_superuser = status
    if user.pk is not None:
        user.save(update_fields=["is_staff", "is_superuser"])
