"""Authentication of API requests: by token, open mode or browser session.

The logic is in plain functions of the request, so that views that bypass DRF can use it too.
"""

import base64
import binascii
from datetime import datetime, timedelta
from typing import Final, cast

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import (
    AuthenticationFailed,
    NotAuthenticated,
    PermissionDenied,
    UnsupportedMediaType,
)
from rest_framework.request import Request

from accounts.grants import Grant, give
from accounts.models import Token
from accounts.models.token import PREFIX, digest_of, run_of
from accounts.open_mode import (
    LocalAdministrator,
    carries_form,
    is_cross_origin,
    is_open,
    objection_to,
)
from accounts.queries import token_of_digest
from accounts.roles import Scope
from accounts.sign_in.basic import user_by_password

USE_NOTED_AFTER: Final = timedelta(minutes=1)  # since it was last noted that a token is used


def caller_of(request: HttpRequest) -> User:
    """The owner of the token, or the local administrator in open mode. Browser sessions do not
    count: the views that call this are exempt from Django's CSRF check.

    Raises NotAuthenticated, AuthenticationFailed, PermissionDenied, UnsupportedMediaType (all of
    rest_framework.exceptions).
    """
    user = user_by_token(request) or user_of_open_mode(request)
    if user is None:
        raise NotAuthenticated
    request.user = user
    return user


def user_by_token(request: HttpRequest) -> User | None:
    """The owner of the request's token; None if it has no credentials.

    Accepts ``Authorization: Bearer th_…`` or, for clients that support nothing else, HTTP Basic
    (RFC 7617): with the token as the password, when the username is ignored, or with the user's
    password. Invalid credentials raise AuthenticationFailed, or TooManyAttempts, and never fall
    back to a session or to open mode.
    """
    header: str = request.META.get("HTTP_AUTHORIZATION", "").strip()
    if not header:
        return None
    scheme, _space, credentials = header.partition(" ")
    if scheme.lower() == "bearer":
        token = credentials.strip()
    elif scheme.lower() == "basic":
        username, token = _basic(credentials)
        # Browsers resend Basic credentials automatically, even for another site's requests.
        if is_cross_origin(request):
            raise PermissionDenied(_("Cross-origin requests are refused."))
        if not token.startswith(PREFIX):
            return _with_password(request, username, token)
    else:
        raise AuthenticationFailed(_("Authenticate with a token: Authorization: Bearer th_…"))
    return _owner(token)


def _basic(credentials: str) -> tuple[str, str]:
    """The username and the password."""
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise AuthenticationFailed(_("The Authorization header is malformed.")) from None
    name, _colon, password = decoded.partition(b":")
    return name.decode(errors="replace"), password.decode(errors="replace")


def _with_password(request: HttpRequest, username: str, password: str) -> User:
    user = user_by_password(request, username, password) if username and password else None
    if user is None:
        raise AuthenticationFailed(_("The token or password is not valid."))
    return user


def _owner(token: str) -> User:
    """The owner of ``token``, limited to what the token allows, see grant_of."""
    found = token_of_digest(digest_of(token))
    if found is None:
        raise AuthenticationFailed(_("The token is not valid."))
    now = timezone.now()
    if found.expires_at is not None and found.expires_at <= now:
        raise AuthenticationFailed(_("The token has expired."))
    if not found.owner.is_active:
        raise AuthenticationFailed(_("The token's user is not active."))
    _note_use(found.id, found.last_used_at, now)
    grant = Grant(
        highest_role=Scope(found.scope).highest_role,
        project_id=found.project_id,
        run_id=run_of(token),
        token_id=found.id,
        access_version=found.access_version,
    )
    return give(found.owner, grant)


def _note_use(token_id: str, last_used_at: datetime | None, now: datetime) -> None:
    """Not at every request: it would cost more than the lookup."""
    if last_used_at is None or now - last_used_at >= USE_NOTED_AFTER:
        Token.objects.filter(pk=token_id).update(last_used_at=now)


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
