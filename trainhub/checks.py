"""System checks: contradictions between settings, told before anything runs."""

import ipaddress
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


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
    if not is_loopback(settings.HOST):
        return [
            Error(
                f"Open mode (no sign-in) is refused on {settings.HOST}, which is not loopback: "
                "set TRAINHUB_OPEN_MODE=false to require sign-in.",
                id="trainhub.E002",
            )
        ]
    return []


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
