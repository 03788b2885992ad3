"""Looks for files below the folders that are given; what cannot be looked into is named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.utils.translation import gettext as _

from core.text import readable
from metrics.imports.past_runs import BadSource, PastRun, Progress, reason_of


@dataclass(frozen=True)
class UnreadableFolder:
    """A source that takes the place of those that may be in the folder."""

    path: str
    error: OSError

    @property
    def name(self) -> str:
        return readable(self.path)

    @property
    def size_bytes(self) -> int:
        return 0

    def read(self, progress: Progress) -> list[PastRun]:
        """Raises BadSource."""
        text = _("%(path)s cannot be read: %(why)s.")
        raise BadSource(text % {"path": self.name, "why": reason_of(self.error)})


def walk(root: Path, unreadable: list[UnreadableFolder]) -> Iterator[tuple[Path, list[str]]]:
    """Each folder, ``root`` and below, with the names of its files, in order; links to folders are
    not followed. Adds to ``unreadable`` the folders that cannot be looked into."""

    def note(error: OSError) -> None:
        unreadable.append(UnreadableFolder(error.filename or str(root), error))

    for folder, folders, names in os.walk(root, onerror=note):
        folders.sort()
        yield Path(folder), sorted(names)
