"""manage.py import_wandb: bring in runs of Weights & Biases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from metrics.imports import wandb_offline
from metrics.imports.command import ImportCommand
from metrics.imports.past_runs import Source
from metrics.imports.wandb_exports import HistoryFile


class Command(ImportCommand):
    help = "Import runs of Weights & Biases from exported histories or offline runs."
    paths_help = "history as CSV, JSON, JSONL or Parquet, or a folder with offline runs"

    def sources(self, paths: Sequence[Path]) -> Iterable[Source]:
        for path in paths:
            if path.is_dir() or path.suffix == wandb_offline.SUFFIX:
                yield from wandb_offline.offline_runs([path])
            else:
                yield HistoryFile(path)
