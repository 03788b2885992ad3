"""Runs the web server."""

from contextlib import ExitStack
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from django.utils import translation

from core.terminal import terminal_language
from trainhub.front.nginx import NginxMissing
from trainhub.up import preflight, schema_upgrade, web_server

# A killed server may take a moment to release its port.
PORT_TIMEOUT_SECONDS: Final = 10.0


class Command(BaseCommand):
    help = "Serve TrainHub over HTTP on TRAINHUB_HOST and TRAINHUB_PORT until SIGTERM or SIGINT."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--migrate", action="store_true", help="migrate the database first")

    def handle(self, *, migrate: bool, **options: Any) -> None:
        if migrate:
            schema_upgrade.migrate(stdout=self.stdout)
            # The server forks, and forks must not share a connection.
            connections.close_all()
        try:
            with ExitStack() as stack:
                with translation.override(terminal_language()):
                    stack.enter_context(preflight.only_web_server(PORT_TIMEOUT_SECONDS))
                    preflight.check_port(settings.HOST, settings.PORT, PORT_TIMEOUT_SECONDS)
                web_server.serve()
        except (preflight.StartupError, NginxMissing, OSError) as error:
            raise CommandError(str(error)) from error
