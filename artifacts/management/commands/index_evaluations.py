"""manage.py index_evaluations: keep the numbers of evaluations that an earlier version stored."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from artifacts.evaluations import index_stored, unindexed
from runs.models import Run


class Command(BaseCommand):
    help = (
        "Read the evaluation results that were stored before their numbers were kept, so that the "
        "pages show them. Can be stopped and started again."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        files = numbers = 0
        for artifact in unindexed().select_related("run").order_by("id").iterator():
            try:
                numbers += index_stored(artifact)
            except (FileNotFoundError, Run.DoesNotExist):
                self.stderr.write(f"{artifact.pk}: its bytes are missing")
                continue
            files += 1
        self.stdout.write(f"{numbers} numbers of {files} evaluations")
