"""Middleware that signs in the local administrator in open mode."""

from collections.abc import Callable

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from accounts.open_mode import LocalAdministrator, is_open, objection_to

# Not the admin: recipes are commands that run on this machine, so it requires a password even in
# open mode, and so do the pages that write recipes (dashboard/operators.py). Not the API: it has
# its own authentication (accounts/authentication.py).
PAGES_PREFIX = "/dashboard"


class OpenModeMiddleware:
    """In open mode, page requests from this machine run as the local administrator."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if is_open() and request.path.startswith(PAGES_PREFIX):
            objection = objection_to(request)
            if objection is not None:
                raise PermissionDenied(objection)
            if request.user.is_anonymous:
                request.user = LocalAdministrator()  # type: ignore[assignment]
        return self.get_response(request)
