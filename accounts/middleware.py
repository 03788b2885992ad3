from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from accounts.open_mode import is_open, local_administrator

# Operators' door: recipes are commands that run on this machine, so the admin asks for its
# password in open mode too. The API's own paths authenticate themselves.
ADMIN_PREFIX = "/admin"
PAGES_PREFIX = "/dashboard"


class OpenModeMiddleware:
    """In open mode, whoever opens a page is the local administrator."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if is_open() and request.path.startswith(PAGES_PREFIX) and request.user.is_anonymous:
            request.user = local_administrator()
        return self.get_response(request)
