"""Loads demo data worth looking at."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Sum

from metrics.models import MetricSeries
from runs.models import Run
from trainhub.demo.loading import has_other_projects, load


class Command(BaseCommand):
    help = (
        "Load three demo projects with the history of a few weeks: a pretraining, a sweep of 40 "
        "runs, and alignment. Does nothing if they are, or ever were, there."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--add", action="store_true", help="also if there are projects that are no demo"
        )

    def handle(self, *, add: bool, **options: Any) -> None:
        if has_other_projects() and not add:
            raise CommandError(
                "There are projects already. Use --add to load the demo next to them."
            )
        loaded = load(report=lambda name: self.stdout.write(f"  {name}"))
        if not loaded.is_new:
            self.stdout.write("The demo has been loaded before: nothing was changed.")
            return
        runs = Run.objects.filter(project__in=loaded.projects)
        points = MetricSeries.objects.filter(run__in=runs).aggregate(total=Sum("count"))["total"]
        lines = runs.aggregate(total=Sum("log_count"))["total"]
        self.stdout.write(f"{runs.count()} runs, {points:,} points, {lines:,} log lines")
