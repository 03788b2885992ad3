"""Who is calling the API: a token, the local administrator of open mode, or a browser session."""

import base64
import binascii
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from knox.auth import TokenAuthentication
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.request import Request

from accounts.open_mode import is_open, local_administrator, refuse_foreign_page


class BearerTokenAuthentication(TokenAuthentication):  # type: ignore[misc]
    """``Authorization: Bearer th_…``, or the token as the password of HTTP Basic.

    Basic is for clients that know nothing else (RFC 7617); the user name is not looked at.
    """

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, Any] | None:
        token = _basic_password(request.headers.get("Authorization", ""))
        if token is not None:
            return self.authenticate_credentials(token)  # type: ignore[no-any-return]
        return super().authenticate(request)  # type: ignore[no-any-return]


def _basic_password(header: str) -> bytes | None:
    """The password of a Basic header as bytes; None if the header is not Basic or malformed."""
    scheme, _space, credentials = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(credentials, validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded.partition(b":")[2]


class OpenModeAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, None] | None:
        if not is_open():
            return None
        refuse_foreign_page(request._request)
        return local_administrator(), None


class BrowserSessionAuthentication(SessionAuthentication):
    """A signed-in browser, e.g. the API documentation's "try it out"; CSRF is checked."""
