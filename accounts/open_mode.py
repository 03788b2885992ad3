"""Open mode: on loopback and without sign-in, every request runs as the local administrator.

This is safe because only programs on this machine get in: the server listens on loopback (a system
check), the peer address is loopback (checked on every request, in case the WSGI application is
started some other way), host names are strict (no DNS rebinding), and cross-origin browser requests
are refused. Call ``objection_to`` before running a request as the local administrator.
"""

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _

from accounts.grants import UNLIMITED
from core.loopback import is_loopback_address

LOCAL_ADMINISTRATOR = "admin"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# The content types that a browser sends cross-origin without a preflight (Fetch standard,
# "CORS-safelisted request-header"): those of HTML forms. The API takes JSON, so it refuses them.
FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})


def is_open() -> bool:
    return bool(settings.OPEN_MODE)


def local_administrator() -> User:
    """The local administrator. Has no usable password until `manage.py up` sets one."""
    user, _created = User.objects.get_or_create(
        username=LOCAL_ADMINISTRATOR,
        defaults={"is_staff": True, "is_superuser": True, "password": "!"},
    )
    return user


class LocalAdministrator(SimpleLazyObject):  # type: ignore[type-arg]
    """The local administrator, loaded from the database on first access: most requests only need to
    know that the user is signed in."""

    is_authenticated = True
    is_anonymous = False
    is_superuser = True
    grant = UNLIMITED

    def __init__(self) -> None:
        super().__init__(local_administrator)

    def __bool__(self) -> bool:
        return True


def is_local_administrator(user: object) -> bool:
    """Whether the request of ``user`` was let in without a password or a token."""
    return type(user) is LocalAdministrator


def objection_to(request: HttpRequest) -> str | None:
    """Why open mode refuses this request; None if it comes from a program on this machine."""
    if not is_loopback_address(request.META.get("REMOTE_ADDR", "")):
        return _("This server is in open mode: it only accepts requests from its own machine.")
    if is_cross_origin(request):
        return _("Cross-origin requests are refused.")
    return None


def is_cross_origin(request: HttpRequest) -> bool:
    """Whether a browser sent this unsafe request on behalf of another origin's page.

    Browsers send ``Origin`` with every POST (Fetch standard) and ``Sec-Fetch-Site``, where
    "same-site" is another port of this host: another program. Programs such as curl send neither.
    """
    if request.method in SAFE_METHODS:
        return False
    if request.META.get("HTTP_SEC_FETCH_SITE", "none") not in {"same-origin", "none"}:
        return True
    origin = request.META.get("HTTP_ORIGIN")
    if origin is None:
        return False
    host = request.get_host()
    return origin.lower() not in {
        f"http://{host}".lower(),
        f"https://{host}".lower(),
    }


def carries_form(request: HttpRequest) -> bool:
    """Whether the request is a POST with the content type of an HTML form, even with an empty body.

    For methods that forms cannot use, browsers send a preflight (Fetch standard, "CORS-safelisted
    method"), so e.g. a PUT of a text file is fine.
    """
    if request.method != "POST" or request.content_type not in FORM_TYPES:
        return False
    return not _is_typed_by_wsgiref(request)


def _is_typed_by_wsgiref(request: HttpRequest) -> bool:
    """wsgiref (runserver, live tests) reports text/plain when a request has no content type."""
    return (
        request.META.get("SERVER_SOFTWARE", "").startswith("WSGIServer/")
        and request.content_type == "text/plain"
        and request.META.get("CONTENT_LENGTH") in {"", "0", None}
    )
