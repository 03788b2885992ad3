"""Who is calling the API: a token, the local administrator of open mode, or a browser session."""

import base64
import binascii
from typing import cast

from django.contrib.auth.models import User
from django.utils import timezone
from django.utils.translation import gettext as _
from knox.crypto import hash_token
from knox.models import AuthToken
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied, UnsupportedMediaType
from rest_framework.request import Request

from accounts.open_mode import (
    LocalAdministrator,
    carries_form,
    is_foreign,
    is_open,
    objection_to,
)


class BearerTokenAuthentication(BaseAuthentication):
    """``Authorization: Bearer th_…``, or the token as the password of HTTP Basic.

    Basic is for clients that know nothing else (RFC 7617); the user name is not looked at.
    Whoever shows credentials is judged by them: what is not a valid token is refused (401) and
    never falls through to a session or to open mode.

    Tokens are knox's; looking them up is ours, because knox reads all of a user's tokens at every
    request and fails on a token that is not UTF-8.
    """

    def authenticate(self, request: Request) -> tuple[User, AuthToken] | None:
        header = request.headers.get("Authorization", "")
        if not header.strip():
            return None
        scheme, _space, credentials = header.strip().partition(" ")
        if scheme.lower() == "bearer":
            token = credentials.strip()
        elif scheme.lower() == "basic":
            token = _basic_password(credentials)
            # A browser repeats a Basic password by itself, whoever made it send the request.
            if is_foreign(request._request):
                raise PermissionDenied(_("Requests from the pages of other sites are refused."))
        else:
            raise AuthenticationFailed(_("Authenticate with a token: Authorization: Bearer th_…"))
        return _owner(token)

    def authenticate_header(self, request: Request) -> str:
        """The challenge of a 401; not Basic, at which browsers would ask for a password."""
        return "Bearer"


def _basic_password(credentials: str) -> str:
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise AuthenticationFailed(_("The Authorization header is malformed.")) from None
    return decoded.partition(b":")[2].decode(errors="replace")


def _owner(token: str) -> tuple[User, AuthToken]:
    # The digest is the primary key: one row by its index, whatever was sent.
    stored = AuthToken.objects.select_related("user").filter(digest=hash_token(token)).first()
    if stored is None:
        raise AuthenticationFailed(_("The token is not valid."))
    if stored.expiry is not None and stored.expiry <= timezone.now():
        raise AuthenticationFailed(_("The token has expired."))
    if not stored.user.is_active:
        raise AuthenticationFailed(_("The token's user is not active."))
    return stored.user, stored


class OpenModeAuthentication(BaseAuthentication):
    """In open mode, this machine's own programs are the local administrator."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        if not is_open():
            return None
        objection = objection_to(request._request)
        if objection is not None:
            raise PermissionDenied(objection)
        if carries_form(request._request):
            raise UnsupportedMediaType(request._request.content_type or "")
        return cast(User, LocalAdministrator()), None


class BrowserSessionAuthentication(SessionAuthentication):
    """A signed-in browser, e.g. the API documentation's "try it out"; CSRF is checked."""
