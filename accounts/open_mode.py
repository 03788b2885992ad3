"""Open mode: on loopback, without sign-in, everybody is the local administrator.

Safe because nothing but this machine's own programs are let in: the server listens on loopback
(a system check), the peer's address is loopback (asked of every request, for whoever starts the
WSGI application by another way), host names are strict (no DNS rebinding), and what a page of
another site makes a browser send is refused. Whoever makes somebody the local administrator asks
``objection_to`` first.
"""

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _

from trainhub.loopback import is_loopback_address

LOCAL_ADMINISTRATOR = "admin"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# What a browser sends across origins without asking first (Fetch standard, "CORS-safelisted
# request-header"): the types of HTML forms. The API takes JSON, so none of them is meant for it.
FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})


def is_open() -> bool:
    return bool(settings.OPEN_MODE)


def local_administrator() -> User:
    """The administrator that `manage.py up` makes; without a usable password until it does."""
    user, _created = User.objects.get_or_create(
        username=LOCAL_ADMINISTRATOR,
        defaults={"is_staff": True, "is_superuser": True, "password": "!"},
    )
    return user


class LocalAdministrator(SimpleLazyObject):  # type: ignore[type-arg]
    """The local administrator, read from the database by whoever needs more of them than that they
    are signed in: most requests do not."""

    is_authenticated = True
    is_anonymous = False

    def __init__(self) -> None:
        super().__init__(local_administrator)

    def __bool__(self) -> bool:
        return True


def objection_to(request: HttpRequest) -> str | None:
    """Why this request does not come from this machine's own programs; None if it may."""
    if not is_loopback_address(request.META.get("REMOTE_ADDR", "")):
        return _("This server is in open mode: it answers programs of its own machine only.")
    if is_foreign(request):
        return _("Requests from the pages of other sites are refused.")
    return None


def is_foreign(request: HttpRequest) -> bool:
    """Whether another origin's page made a browser ask for a change.

    Browsers send ``Origin`` with every POST (Fetch standard) and say ``Sec-Fetch-Site``, whose
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
    """Whether a request for a change says that its body, even an empty one, is a form's.

    A form is sent by POST; of any other method a browser asks first (Fetch standard, "CORS-
    safelisted method"), so a PUT of a text file is what it says.
    """
    if request.method != "POST" or request.content_type not in FORM_TYPES:
        return False
    return not _is_typed_by_wsgiref(request)


def _is_typed_by_wsgiref(request: HttpRequest) -> bool:
    """Python's own server (runserver, live tests) says text/plain of a body that says nothing."""
    return (
        request.META.get("SERVER_SOFTWARE", "").startswith("WSGIServer/")
        and request.content_type == "text/plain"
        and request.META.get("CONTENT_LENGTH") in {"", "0", None}
    )
