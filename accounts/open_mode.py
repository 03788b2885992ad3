"""Open mode: on loopback, without sign-in, everybody is the local administrator.

Safe because nothing but this machine's own programs reach the server: the host is loopback
(checked at start), host names are strict (no DNS rebinding), and requests that a page of another
site made the browser send are refused (``refuse_foreign_page``).
"""

from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils.translation import gettext as _
from rest_framework.exceptions import PermissionDenied

LOCAL_ADMINISTRATOR = "admin"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


def local_administrator() -> User:
    """The administrator that `manage.py up` makes; without a usable password until it does."""
    try:
        return User.objects.get(username=LOCAL_ADMINISTRATOR)
    except User.DoesNotExist:
        user, _created = User.objects.get_or_create(
            username=LOCAL_ADMINISTRATOR,
            defaults={"is_staff": True, "is_superuser": True, "password": "!"},
        )
        return user


def refuse_foreign_page(request: HttpRequest) -> None:
    """Raise PermissionDenied for a change that another site's page asks a browser to make.

    Browsers name the origin of every cross-site POST (Fetch standard, "Origin" header) and say
    ``Sec-Fetch-Site``; programs such as curl send neither.
    """
    if request.method in SAFE_METHODS:
        return
    origin = request.headers.get("Origin")
    foreign_origin = origin is not None and urlsplit(origin).netloc != request.get_host()
    fetched_by = request.headers.get("Sec-Fetch-Site", "none")
    if foreign_origin or fetched_by not in {"same-origin", "none"}:
        raise PermissionDenied(_("Requests from the pages of other sites are refused."))


def is_open() -> bool:
    return bool(settings.OPEN_MODE)
