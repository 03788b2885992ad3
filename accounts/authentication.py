"""Authentication of API requests: by token, open mode or browser session.

The logic is in plain functions of the request, so that views that bypass DRF can use it too.
"""

import base64
import binascii
from typing import cast

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from knox.crypto import hash_token
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import (
    AuthenticationFailed,
    NotAuthenticated,
    PermissionDenied,
    UnsupportedMediaType,
)
from rest_framework.request import Request

from accounts.open_mode import (
    LocalAdministrator,
    carries_form,
    is_cross_origin,
    is_open,
    objection_to,
)
from accounts.queries import token_of_digest
from accounts.tokens import run_of


def caller_of(request: HttpRequest) -> User:
    """The owner of the token, or the local administrator in open mode. Browser sessions do not
    count: the views that call this are exempt from Django's CSRF check.

    Raises NotAuthenticated, AuthenticationFailed, PermissionDenied, UnsupportedMediaType (all of
    rest_framework.exceptions).
    """
    user = user_by_token(request) or user_of_open_mode(request)
    if user is None:
        raise NotAuthenticated
    return user


def user_by_token(request: HttpRequest) -> User | None:
    """The owner of the request's token; None if it has no credentials.

    Accepts ``Authorization: Bearer th_…`` or, for clients that support nothing else, the token as
    the password of HTTP Basic (RFC 7617); the username is ignored. Invalid credentials raise
    AuthenticationFailed and never fall back to a session or to open mode.
    """
    header: str = request.META.get("HTTP_AUTHORIZATION", "").strip()
    if not header:
        return None
    scheme, _space, credentials = header.partition(" ")
    if scheme.lower() == "bearer":
        token = credentials.strip()
    elif scheme.lower() == "basic":
        token = _basic_password(credentials)
        # Browsers resend Basic credentials automatically, even for another site's requests.
        if is_cross_origin(request):
            raise PermissionDenied(_("Cross-origin requests are refused."))
    else:
        raise AuthenticationFailed(_("Authenticate with a token: Authorization: Bearer th_…"))
    return _owner(token)


def _basic_password(credentials: str) -> str:
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise AuthenticationFailed(_("The Authorization header is malformed.")) from None
    return decoded.partition(b":")[2].decode(errors="replace")


def _owner(token: str) -> User:
    """The owner of ``token``, and the run that it is limited to, see ``script_run_of``. Bypasses
    knox's lookup, which reads all of a user's tokens on every request and fails on tokens that are
    not UTF-8."""
    owner_and_expiry = token_of_digest(hash_token(token))
    if owner_and_expiry is None:
        raise AuthenticationFailed(_("The token is not valid."))
    user, expiry = owner_and_expiry
    if expiry is not None and expiry <= timezone.now():
        raise AuthenticationFailed(_("The token has expired."))
    if not user.is_active:
        raise AuthenticationFailed(_("The token's user is not active."))
    user.script_run_id = run_of(token)  # type: ignore[attr-defined]
    return user


def user_of_open_mode(request: HttpRequest) -> User | None:
    """The local administrator in open mode, else None."""
    if not is_open():
        return None
    objection = objection_to(request)
    if objection is not None:
        raise PermissionDenied(objection)
    if carries_form(request):
        raise UnsupportedMediaType(request.content_type or "")
    return cast(User, LocalAdministrator())


class BearerTokenAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[User, None] | None:
        user = user_by_token(request._request)
        return None if user is None else (user, None)

    def authenticate_header(self, request: Request) -> str:
        """The WWW-Authenticate challenge; not Basic, for which browsers show a password prompt."""
        return "Bearer"


class OpenModeAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[User, None] | None:
        user = user_of_open_mode(request._request)
        return None if user is None else (user, None)


class ReadOnlySession(SessionStore):
    """A session whose key stays as it is: API responses set no cookies. Django renews the key of a
    session that was signed with one of SECRET_KEY_FALLBACKS; the next page does that."""

    key_salt = "django.contrib.sessions.SessionStore"  # the default depends on the class name

    def cycle_key(self) -> None:
        pass


class BrowserSessionAuthentication(SessionAuthentication):
    """A signed-in browser, e.g. the API documentation's "Try it out". Checks CSRF."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        user = _user_by_session(request._request)
        if user is None:
            return None
        self.enforce_csrf(request)
        return user, None


def _user_by_session(request: HttpRequest) -> User | None:
    """Read the session here, because the session middleware runs for pages only."""
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if key is None:
        return None
    request.session = ReadOnlySession(key)
    user = get_user(request)
    return user if isinstance(user, User) and user.is_active else None
