"""Who calls an API view that is a plain function: the views that must be quick, and MLflow's."""

from typing import Final

from django.contrib.auth.models import User
from django.http import HttpRequest
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request

from accounts.authentication import BearerTokenAuthentication, OpenModeAuthentication

# Not a browser's session: these views are exempt from Django's CSRF check.
AUTHENTICATION: Final = (BearerTokenAuthentication(), OpenModeAuthentication())


def caller_of(request: HttpRequest) -> User:
    """Whoever shows a token; in open mode, the local administrator.

    Raises NotAuthenticated, AuthenticationFailed, PermissionDenied, UnsupportedMediaType (all of
    rest_framework.exceptions).
    """
    for authentication in AUTHENTICATION:
        found = authentication.authenticate(Request(request))
        if found is not None:
            return found[0]
    raise NotAuthenticated
