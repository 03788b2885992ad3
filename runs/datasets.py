"""What a run's dataset may name: plain text, or a file below one of the directories for datasets.

A training reads with the rights of its worker, so whoever names its dataset could otherwise read
the server's files, and download the model that has learned them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from django.conf import settings

from core.exceptions import InvalidInput
from core.messages import Message

_SCHEME: Final = re.compile(r"[A-Za-z][\w+.-]*://")
# A path on this host, as programs write it: those built on fsspec also take local: and chains, such
# as simplecache::file:///etc/passwd; WebDataset runs pipe:cat; others expand ~ and $HOME.
_PATH: Final = re.compile(
    r"(?:^|::)(?:[/\\]|~(?:[A-Za-z_][\w.-]*)?(?:[/\\]|$)|\$[A-Za-z_{])"
    r"|(?:^|:)(?:file|local|pipe):",
    re.IGNORECASE,
)
# Between texts, for programs that take several: "0.3 /data/a 0.7 /data/b", "{a,b}".
_BETWEEN: Final = re.compile(r"[\s,;|<>(){}\[\]\"'`]+")
# Parsers of addresses leave some of them out: fi\tle:///etc/passwd.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def check_dataset(dataset: str) -> None:
    """Raises InvalidInput for a path that leads out of the directories for datasets. Anything that
    is no path on this host, such as the name of a dataset or the address of one, is plain text."""
    texts = (dataset.strip(), *_texts_in(dataset))
    if _CONTROL.search(dataset) or not all(_is_allowed(text) for text in texts):
        raise _outside(dataset)


def _texts_in(dataset: str) -> Iterator[str]:
    """The texts that it may be a list of, relative to the directories for datasets, the names of
    which may have spaces."""
    for folder in settings.DATASET_DIRS:
        dataset = dataset.replace(f"{folder.rstrip('/')}/", "")
    texts = _BETWEEN.split(dataset)
    return (text for text in texts if text not in {"/", "\\"})  # Chinese / English


def _is_allowed(text: str) -> bool:
    is_path = _PATH.search(text) is not None
    if _SCHEME.match(text) and not is_path:
        return True
    if is_path or ".." in re.split(r"[/\\]", text):
        return any(_is_below(Path(text), folder) for folder in settings.DATASET_DIRS)
    for folder in settings.DATASET_DIRS:
        path = Path(folder) / text
        if os.path.lexists(path):  # false for what is too long for a name
            return _is_below(path, folder)  # a link may lead out of it
    return True


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
