"""manage.py import_trainer_state: bring in trainings of Hugging Face's Trainer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from metrics.imports.command import ImportCommand
from metrics.imports.past_runs import Source
from metrics.imports.trainer_state import trainings


class Command(ImportCommand):
    help = "Import trainings of Hugging Face's Trainer from their trainer_state.json."
    paths_help = "output folder, checkpoint or trainer_state.json, or a folder of such folders"

    def sources(self, paths: Sequence[Path]) -> Iterable[Source]:
        return trainings(paths)
