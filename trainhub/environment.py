"""Reads settings from the environment. Invalid values raise a clear error, never a guess."""

import ipaddress
import logging
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

KINDS: Final = {bool: "true or false", int: "a whole number", float: "a number"}
BOOLEANS: Final = {"true", "on", "ok", "y", "yes", "1", "false", "off", "no", "n", "0"}
SMTP_PORTS: Final = {"smtp": 25, "smtp+tls": 587, "smtp+ssl": 465}
POSTGRES_SCHEMES: Final = {"postgresql", "postgres", "psql", "pgsql"}


class Env(environ.Env):  # type: ignore[misc]
    """django-environ, except that a mistyped boolean is an error, not false, and an empty value
    counts as unset.

    Raises ImproperlyConfigured with the name of the variable.
    """

    def get_value(
        self,
        var: str,
        cast: Any = None,
        default: Any = environ.Env.NOTSET,
        parse_default: bool = False,
    ) -> Any:
        text = self.ENVIRON.get(var)
        # docker-compose passes `NAME: ${NAME:-}` as an empty string.
        if text == "" and default is not self.NOTSET:
            return default
        if cast is bool and text is not None and text.strip().lower() not in BOOLEANS:
            raise ImproperlyConfigured(f"{var} must be {KINDS[cast]}, not {text!r}.")
        try:
            return super().get_value(var, cast, default, parse_default)
        except ValueError:
            kind = KINDS.get(cast, "something else")
            raise ImproperlyConfigured(f"{var} must be {kind}, not {text!r}.") from None

    def level(self, name: str, default: str) -> str:
        """A log level name of the logging module."""
        text = str(self.str(name, default=default)).upper()
        if text not in logging.getLevelNamesMapping():
            raise ImproperlyConfigured(f"{name} must be DEBUG, INFO, WARNING or ERROR.")
        return text

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """One of ``choices``, in any case."""
        text = str(self.str(name, default=default))
        if text.lower() not in choices:
            raise ImproperlyConfigured(f"{name} must be {' or '.join(choices)}, not {text!r}.")
        return text.lower()

    def postgres(self, url: str) -> dict[str, Any]:
        """The DATABASES entry for ``url``. Error messages never contain the password."""
        try:
            scheme = urlsplit(url).scheme
            config: dict[str, Any] = self.db_url_config(url) if scheme in POSTGRES_SCHEMES else {}
        except ValueError:
            config = {}
        if not config.get("NAME"):
            raise ImproperlyConfigured(
                "DATABASE_URL must be postgresql://user:password@host:port/name. TrainHub supports "
                "only PostgreSQL; leave DATABASE_URL unset to use the embedded one."
            )
        return config

    def networks(self, name: str) -> list[str]:
        """IP addresses and networks, separated by commas."""
        texts: list[str] = self.list(name, default=[])
        try:
            return [str(ipaddress.ip_network(text.strip(), strict=False)) for text in texts]
        except ValueError as error:
            raise ImproperlyConfigured(
                f"{name} must be IP addresses or networks: {error}."
            ) from None

    def smtp(self, name: str) -> dict[str, Any]:
        """The parts of the URL of an SMTP server; empty if it is unset. Error messages never
        contain the password."""
        url: str = self.str(name, default="")
        try:
            parts = urlsplit(url)
            if url and not (parts.scheme in SMTP_PORTS and parts.hostname):
                raise ValueError
            port = parts.port or SMTP_PORTS.get(parts.scheme, 0)
        except ValueError:
            raise ImproperlyConfigured(
                f"{name} must be smtp+tls://user:password@host:port (STARTTLS), smtp+ssl://… or "
                "smtp://…"
            ) from None
        return {
            "host": parts.hostname or "",
            "port": port,
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "scheme": parts.scheme,
        }
