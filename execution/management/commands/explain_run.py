"""manage.py explain_run: why a run waits."""

from __future__ import annotations

from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser

from execution.scheduling.explanation import explain
from runs.models import Run


class Command(BaseCommand):
    help = "Tell why a run waits: its place in the queue, the reason, the estimated start."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", help="the ID of the run")
        parser.add_argument("--json", action="store_true", help="as the API answers")

    def handle(self, *, run: str, json: bool, **options: Any) -> None:
        found = Run.objects.select_related("recipe", "project").filter(pk=run).first()
        if found is None:
            raise CommandError(f"There is no run {run}.")
        explanation = explain(found)
        if json:
            content = orjson.dumps(explanation.as_json(), option=orjson.OPT_UTC_Z)
            self.stdout.write(content.decode())
            return
        self.stdout.write(f"{found.name} ({found.pk}): {found.get_status_display()}")
        if explanation.position is not None:
            self.stdout.write(f"Position in the queue: {explanation.position}")
        self.stdout.write(explanation.reason)
        if explanation.estimated_start is not None:
            self.stdout.write(f"Estimated start: {explanation.estimated_start:%Y-%m-%d %H:%M} UTC")
