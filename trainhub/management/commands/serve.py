"""Runs the web server."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import connections

from trainhub.up import schema_upgrade, web_server


class Command(BaseCommand):
    help = "Serve TrainHub over HTTP on TRAINHUB_HOST and TRAINHUB_PORT until SIGTERM or SIGINT."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--migrate", action="store_true", help="migrate the database first")

    def handle(self, *, migrate: bool, **options: Any) -> None:
        if migrate:
            schema_upgrade.migrate(stdout=self.stdout)
            # The server forks, and forks must not share a connection.
            connections.close_all()
        web_server.serve()
