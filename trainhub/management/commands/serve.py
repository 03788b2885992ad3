from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import connections

from trainhub import web_server


class Command(BaseCommand):
    help = "Serve TrainHub over HTTP on TRAINHUB_HOST and TRAINHUB_PORT until told to stop."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--migrate", action="store_true", help="bring the database up first")

    def handle(self, *, migrate: bool, **options: Any) -> None:
        if migrate:
            call_command("migrate", interactive=False, stdout=self.stdout)
            # The server's processes are forks, and a connection cannot be shared.
            connections.close_all()
        web_server.serve()
