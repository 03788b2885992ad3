"""Who is calling the API: a token, the local administrator of open mode, or a browser session.

What DRF asks of classes are functions of the request here, for views that do without DRF.
"""

import base64
import binascii
from typing import cast

from django.contrib.auth.models import User
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
    is_foreign,
    is_open,
    objection_to,
)
from accounts.queries import token_of_digest


def caller_of(request: HttpRequest) -> User:
    """Whoever shows a token; in open mode, the local administrator. Not a browser's session: the
    views that ask this are exempt from Django's CSRF check.

    Raises NotAuthenticated, AuthenticationFailed, PermissionDenied, UnsupportedMediaType (all of
    rest_framework.exceptions).
    """
    user = user_by_token(request) or user_of_open_mode(request)
    if user is None:
        raise NotAuthenticated
    return user


def user_by_token(request: HttpRequest) -> User | None:
    """The owner of the token that the request shows; None if it shows no credentials.

    ``Authorization: Bearer th_…``, or the token as the password of HTTP Basic, for clients that
    know nothing else (RFC 7617); the user name is not looked at. Whoever shows credentials is
    judged by them: what is not a valid token is refused (AuthenticationFailed) and never falls
    through to a session or to open mode.
    """
    header: str = request.META.get("HTTP_AUTHORIZATION", "").strip()
    if not header:
        return None
    scheme, _space, credentials = header.partition(" ")
    if scheme.lower() == "bearer":
        token = credentials.strip()
    elif scheme.lower() == "basic":
        token = _basic_password(credentials)
        # A browser repeats a Basic password by itself, whoever made it send the request.
        if is_foreign(request):
            raise PermissionDenied(_("Requests from the pages of other sites are refused."))
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
    """Tokens are knox's; looking them up is ours, because knox reads all of a user's tokens at
    every request and fails on a token that is not UTF-8."""
    found = token_of_digest(hash_token(token))
    if found is None:
        raise AuthenticationFailed(_("The token is not valid."))
    user, expiry = found
    if expiry is not None and expiry <= timezone.now():
        raise AuthenticationFailed(_("The token has expired."))
    if not user.is_active:
        raise AuthenticationFailed(_("The token's user is not active."))
    return user


def user_of_open_mode(request: HttpRequest) -> User | None:
    """In open mode, this machine's own programs are the local administrator."""
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
        """The challenge of a 401; not Basic, at which browsers would ask for a password."""
        return "Bearer"


class OpenModeAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[User, None] | None:
        user = user_of_open_mode(request._request)
        return None if user is None else (user, None)


class BrowserSessionAuthentication(SessionAuthentication):
    """A signed-in browser, e.g. the API documentation's "try it out"; CSRF is checked."""
