"""What a run's dataset may name: plain text, or a file below one of the directories for datasets.

A training reads with the rights of its worker, so whoever names its dataset could otherwise read
the server's files, and download the model that has learned them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from django.conf import settings

from core.exceptions import InvalidInput
from core.messages import Message

_SCHEME: Final = re.compile(r"[A-Za-z][\w+.-]*://")
# A path on this host, as programs write it: those built on fsspec also take local: and chains, such
# as simplecache::file:///etc/passwd.
_PATH: Final = re.compile(r"(?:^|::)\s*(?:[/~\\]|(?:file|local):)", re.IGNORECASE)


def check_dataset(dataset: str) -> None:
    """Raises InvalidInput for a path that leads out of the directories for datasets. Anything that
    is no path on this host, such as the name of a dataset or the address of one, is plain text."""
    if "\x00" in dataset:
        raise _outside(dataset)
    is_path = _PATH.search(dataset) is not None
    if _SCHEME.match(dataset) and not is_path:
        return
    if is_path or ".." in re.split(r"[/\\]", dataset):
        if not any(_is_below(Path(dataset), folder) for folder in settings.DATASET_DIRS):
            raise _outside(dataset)
        return
    for folder in settings.DATASET_DIRS:
        path = Path(folder) / dataset
        if os.path.lexists(path):  # false for what is too long for a name
            if not _is_below(path, folder):  # a link leads out of it
                raise _outside(dataset)
            return


def _is_below(path: Path, folder: str) -> bool:
    try:
        return ".." not in path.parts and path.resolve().is_relative_to(Path(folder).resolve())
    except (OSError, RuntimeError):  # a loop of links
        return False


def _outside(dataset: str) -> InvalidInput:
    return InvalidInput(
        Message(
            "The dataset %(dataset)s is not below a directory for datasets "
            "(TRAINHUB_DATASET_DIRS).",
            dataset=repr(dataset),
        ),
        attr="dataset",
    )
