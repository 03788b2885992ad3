"""Starts the whole stack in the foreground."""

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.utils import translation
from django.utils.translation import gettext as _

from core.terminal import terminal_language
from trainhub.up.first_start import ensure_administrator_password, operator_name
from trainhub.up.preflight import StartupError
from trainhub.up.stack import Stack
from trainhub.up.stop_signals import Interrupted, StopSignals


class Command(BaseCommand):
    help = (
        "Run the embedded PostgreSQL (unless DATABASE_URL is set), the web server and one worker "
        "in the foreground. Press Ctrl-C to stop them, twice to kill them."
    )
    requires_system_checks = ()  # preflight runs them and reports short messages

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--parent", type=int, metavar="PID", help="stop when this parent process exits"
        )
        parser.add_argument(
            "--own-session",
            action="store_true",
            help="leave the terminal's Ctrl-C to the process that restarts this (make dev)",
        )

    def handle(self, *, parent: int | None, own_session: bool, **options: Any) -> None:
        if own_session:
            os.setsid()
        translation.activate(terminal_language())
        with StopSignals() as signals:
            stack = Stack(signals, self.write_error)
            try:
                self.write(_("TrainHub is starting …"))
                stack.prepare()
                stack.start()
                self.welcome()
                stack.watch(parent)
            except Interrupted:
                pass  # stopped during startup: clean up below
            except StartupError as error:
                self.write_error(str(error))
                sys.exit(1)
            finally:
                if signals.requested:
                    self.write(_("TrainHub is stopping …"))
                stack.stop()
            if signals.forced:
                sys.exit(128 + signals.last_number)
            self.write(_("TrainHub has stopped."))

    def welcome(self) -> None:
        """Print the URLs, and the administrator's password if it was just created."""
        password = ensure_administrator_password()
        url = settings.PUBLIC_URL.rstrip("/")
        self.write(
            "\n".join(
                [
                    _("TrainHub is running."),
                    _("  Dashboard: %(url)s") % {"url": f"{url}/dashboard"},
                    _("  API documentation: %(url)s") % {"url": f"{url}/docs"},
                    _("  Admin: %(url)s") % {"url": f"{url}/admin/"},
                    login_line(password),
                    _("Press Ctrl-C to stop. The next start continues where this one stopped."),
                ]
            )
        )

    def write(self, text: str) -> None:
        self._write_to(self.stdout, text)

    def write_error(self, text: str) -> None:
        self._write_to(self.stderr, text)

    def _write_to(self, stream: Any, text: str) -> None:
        try:
            stream.write(text)
            stream.flush()
        except OSError:
            # The terminal or the reading end of the pipe is gone: still stop the children properly.
            return


def login_line(password: str | None) -> str:
    name = operator_name()
    if password is None:
        return _(
            "  Sign in as %(name)s; to reset the password: manage.py changepassword %(name)s"
        ) % {"name": name}
    return _("  Sign in as %(name)s with the password %(password)s (shown only once)") % {
        "name": name,
        "password": password,
    }
