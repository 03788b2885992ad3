"""manage.py import_tensorboard: bring in the runs of a log folder of TensorBoard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from metrics.imports.command import ImportCommand
from metrics.imports.past_runs import Source
from metrics.imports.tensorboard import log_folders


class Command(ImportCommand):
    help = "Import the runs of TensorBoard log folders: each folder with event files is one."
    paths_help = "log folder, as given to tensorboard --logdir"

    def sources(self, paths: Sequence[Path]) -> Iterable[Source]:
        for path in paths:
            yield from log_folders(path)
