"""System checks that report contradictory settings before anything runs.

They run before every management command, and when another server loads the WSGI application
(``refuse_contradictions``).
"""

import os
import stat
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured

from core.loopback import is_loopback_host
from execution.executors import training_user
from trainhub.private_data import close_data_directory
from trainhub.secret_key import kept_secret_key
from trainhub.up import schema_upgrade

EVERY_ADDRESS: Final = {"0.0.0.0", "::"}  # noqa: S104  (nothing listens there)
MIN_SECRET_KEY_LENGTH: Final = 32  # characters
WORKER: Final = "worker"  # the tag of checks for workers alone, which run_worker makes


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
    """Non-loopback host names would allow DNS rebinding attacks."""
    # "testserver" is the host name of Django's test client.
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
                "TRAINHUB_DEBUG shows tracebacks to every user: unset it in production.",
                id="trainhub.E003",
            )
        ]
    return []


@register
def provider_is_complete(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    if not settings.OIDC_ISSUER:
        return []
    if not settings.OIDC_CLIENT_ID:
        return [
            Error(
                "TRAINHUB_OIDC_ISSUER is set: TRAINHUB_OIDC_CLIENT_ID is missing.",
                id="trainhub.E008",
            )
        ]
    issuer = urlsplit(settings.OIDC_ISSUER)
    # ID tokens come by this connection: who can change it, can be anyone.
    if issuer.scheme != "https" and not is_loopback_host(issuer.hostname or ""):
        return [
            Error(
                f"TRAINHUB_OIDC_ISSUER must begin with https://, not {settings.OIDC_ISSUER}.",
                id="trainhub.E009",
            )
        ]
    claim, _equals, value = settings.OIDC_OPERATORS.partition("=")
    if settings.OIDC_OPERATORS and not (claim and value):
        # Without a value, the next sign-in of each operator would make them none.
        return [
            Error(
                f"TRAINHUB_OIDC_OPERATORS must be claim=value, not {settings.OIDC_OPERATORS}.",
                id="trainhub.E014",
            )
        ]
    return []


@register
def proxy_is_known(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if not settings.HTTPS or settings.TRUSTED_PROXIES:
        return []
    return [
        Warning(
            "All clients have the address of the proxy that TRAINHUB_HTTPS speaks of, and share "
            "one limit of wrong passwords: set TRAINHUB_TRUSTED_PROXIES to its address.",
            id="trainhub.W006",
        )
    ]


@register
def production_is_reached_by_https(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Passwords, tokens and sessions cross the network."""
    if not settings.PRODUCTION:
        return []
    if settings.HTTPS and settings.PLAIN_HTTP:
        text = "TRAINHUB_HTTPS and TRAINHUB_PLAIN_HTTP contradict each other: unset one of them."
        return [Error(text, id="trainhub.E011")]
    if settings.HTTPS or settings.PLAIN_HTTP:
        return []
    return [
        Error(
            "Production is refused over plain HTTP, which shows passwords and tokens to the "
            "network: put a proxy that terminates TLS in front and set TRAINHUB_HTTPS=true. In a "
            "network that nobody else can listen to, set TRAINHUB_PLAIN_HTTP=true.",
            id="trainhub.E010",
        )
    ]


@register
def production_has_a_secret_key(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Who knows it signs in as anybody, and reads the secrets of recipes; without it nobody reads
    these."""
    if not settings.PRODUCTION:
        return []
    if settings.SECRET_KEY_MISSING:
        return [
            Error(
                "Production with DATABASE_URL needs TRAINHUB_SECRET_KEY, the same on every host: "
                "what is encrypted in the database is lost with a key that one host has made up.",
                id="trainhub.E012",
            )
        ]
    if len(settings.SECRET_KEY) < MIN_SECRET_KEY_LENGTH:
        return [
            Error(
                f"TRAINHUB_SECRET_KEY has fewer than {MIN_SECRET_KEY_LENGTH} characters: who "
                "guesses it can sign in as anybody.",
                id="trainhub.E013",
            )
        ]
    return []


@register
def links_lead_somewhere(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    if urlsplit(settings.PUBLIC_URL).hostname not in EVERY_ADDRESS:
        return []
    return [
        Warning(
            f"Links in mails and webhooks lead to {settings.PUBLIC_URL}, which is nowhere: set "
            "TRAINHUB_PUBLIC_URL to the address under which users reach TrainHub.",
            id="trainhub.W007",
        )
    ]


@register
def data_directory_is_usable(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    try:
        if settings.SECRET_KEY_MISSING:
            settings.DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        else:
            kept_secret_key(settings.DATA_DIR / "secret_key")
        with tempfile.TemporaryFile(dir=settings.DATA_DIR):
            pass
    except OSError as error:
        return [
            Error(
                f"The data directory {settings.DATA_DIR} cannot be used ({error.strerror}): "
                "set TRAINHUB_DATA_DIR to a writable directory.",
                id="trainhub.E005",
            )
        ]
    try:
        close_data_directory()
    except OSError as error:
        return [
            Warning(
                f"{error.filename} cannot be closed to other users of this machine "
                f"({error.strerror}): let its owner do it (chmod o-rwx).",
                id="trainhub.W002",
            )
        ]
    return []


@register
def environment_file_is_private(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    path = settings.BASE_DIR / ".env"
    matters = settings.PRODUCTION or settings.TRAINING_USER
    if not (matters and path.exists() and path.stat().st_mode & stat.S_IROTH):
        return []
    return [
        Warning(
            f"Other users of this machine can read {path}: chmod o-r {path}.", id="trainhub.W003"
        )
    ]


@register(WORKER, deploy=True)
def trainings_have_a_user(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Where a worker starts: the web server's host needs no such user."""
    problem = training_user.problem()
    if problem is not None:
        return [Error(problem, id="trainhub.E007")]
    if not settings.TRAINING_USER:
        return []
    warnings: list[CheckMessage] = []
    # Not every recipe runs the worker's own interpreter.
    if (why := training_user.unreachable(Path(sys.executable))) is not None:
        warnings.append(Warning(why, id="trainhub.W005"))
    if settings.OPEN_MODE:
        warnings.append(
            Warning(
                "In open mode, trainings act as the administrator whatever user they run as: set "
                "TRAINHUB_OPEN_MODE=false.",
                id="trainhub.W004",
            )
        )
    return warnings


@register(Tags.database)
def schema_is_upgraded(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Without the upgrade, migrate would create the new tables next to the old ones."""
    if not kwargs.get("databases") or not schema_upgrade.is_needed():
        return []
    return [
        Error(
            "This database was created before 0.1.0: run manage.py upgrade_schema first.",
            id="trainhub.E006",
        )
    ]


# Former names → present ones.
RENAMED_VARIABLES: Final = {
    "TRAINHUB_WORKER_SEATS": "TRAINHUB_WORKER_SLOTS",
    "TRAINHUB_EXTERNAL_SILENT_SECONDS": "TRAINHUB_SILENT_SECONDS",
    "TRAINHUB_UNMANAGED_SILENT_SECONDS": "TRAINHUB_SILENT_SECONDS",
    "TRAINHUB_EXTERNAL_LOST_SECONDS": "TRAINHUB_UNMANAGED_LOST_SECONDS",
}


@register
def variables_have_current_names(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    return [
        Warning(f"{old} is ignored: rename it to {new}.", id="trainhub.W001")
        for old, new in RENAMED_VARIABLES.items()
        if old in os.environ
    ]


def refuse_contradictions() -> None:
    """Run the access checks, for servers not started by a management command.

    Raises ImproperlyConfigured with the first error.
    """
    for check in (
        open_mode_stays_on_loopback,
        open_mode_has_loopback_names,
        production_hides_tracebacks,
        provider_is_complete,
        production_is_reached_by_https,
        production_has_a_secret_key,
    ):
        for message in check(None):
            raise ImproperlyConfigured(message.msg)
