"""System checks: contradictions between settings, told before anything runs.

They run before every management command, and where the WSGI application is loaded by another way
(``refuse_contradictions``).
"""

import tempfile
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from trainhub.loopback import is_loopback_host
from trainhub.secret_key import kept_secret_key


@register
def open_mode_stays_on_loopback(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    if not settings.OPEN_MODE:
        return []
    if settings.PRODUCTION:
        return [
            Error(
                "Open mode (no sign-in) is refused in production: "
                "unset TRAINHUB_OPEN_MODE or TRAINHUB_PRODUCTION.",
                id="trainhub.E001",
            )
        ]
    if not is_loopback_host(settings.HOST):
        return [
            Error(
                f"Open mode (no sign-in) is refused on {settings.HOST}, which is not loopback: "
                "set TRAINHUB_OPEN_MODE=false to require sign-in.",
                id="trainhub.E002",
            )
        ]
    return []


@register
def open_mode_has_loopback_names(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """A name that others may point at this machine lets their pages in (DNS rebinding)."""
    # "testserver" is what Django's test client calls itself.
    names = [name for name in settings.ALLOWED_HOSTS if name != "testserver"]
    others = [name for name in names if not is_loopback_host(name)]
    if not settings.OPEN_MODE or not others:
        return []
    return [
        Error(
            f"Open mode (no sign-in) is refused under the name {others[0]}, which is not "
            "loopback: unset TRAINHUB_ALLOWED_HOSTS, or set TRAINHUB_OPEN_MODE=false.",
            id="trainhub.E004",
        )
    ]


@register
def production_hides_tracebacks(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    if settings.PRODUCTION and settings.DEBUG:
        return [
            Error(
                "TRAINHUB_DEBUG shows tracebacks to everybody: unset it in production.",
                id="trainhub.E003",
            )
        ]
    return []


@register
def data_directory_is_usable(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    try:
        kept_secret_key(settings.DATA_DIR / "secret_key")
        with tempfile.TemporaryFile(dir=settings.DATA_DIR):
            return []
    except OSError as error:
        return [
            Error(
                f"The data directory {settings.DATA_DIR} cannot be used ({error.strerror}): "
                "set TRAINHUB_DATA_DIR to one that can be written.",
                id="trainhub.E005",
            )
        ]


def refuse_contradictions() -> None:
    """The checks of who may come in, for a server that no management command started.

    Raises ImproperlyConfigured with the first contradiction.
    """
    for check in (
        open_mode_stays_on_loopback,
        open_mode_has_loopback_names,
        production_hides_tracebacks,
    ):
        for message in check(None):
            raise ImproperlyConfigured(message.msg)
