"""Which files of a folder are left out, as Git decides it: gitignore(5).

The files .gitignore and .trainhubignore of each folder count for what is in and below it, the
second one after the first, and those of a deeper folder after those above. A folder that is left
out is not entered, so nothing in it can be taken back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

NAMES = (".gitignore", ".trainhubignore")
ALWAYS = (".git",)
BY_DEFAULT = ("__pycache__/", ".hg/", ".svn/", ".DS_Store")


class Rules:
    """Of ``folder``: those of the folders above it in the same repository, and its own."""

    def __init__(self, folder: Path) -> None:
        above = list(_above_in_repository(folder))
        self._start = above[-1] if above else folder
        self._specs: dict[str, GitIgnoreSpec] = {}
        self._prefix = folder.relative_to(self._start).as_posix() if above else ""
        lines = [*BY_DEFAULT, *_lines(self._start / ".git" / "info" / "exclude")]
        for parent in reversed(above):
            self._read(parent, lines)
            lines = []
        self._first_lines = lines
        self._folder = folder

    def enter(self, relative: str) -> None:
        """Before anything of that folder is asked about; ``""`` is the folder itself."""
        self._read(self._folder / relative, self._first_lines)
        self._first_lines = []

    def leaves_out(self, relative: str, *, is_folder: bool) -> bool:
        """``relative``: a path below the folder."""
        if relative.rpartition("/")[2] in ALWAYS:
            return True
        path = f"{self._prefix}/{relative}" if self._prefix not in {"", "."} else relative
        parts = path.split("/")
        for depth in range(len(parts) - 1, -1, -1):  # the rules of the deepest folder first
            spec = self._specs.get("/".join(parts[:depth]))
            if spec is None:
                continue
            inside = "/".join(parts[depth:]) + ("/" if is_folder else "")
            decided = spec.check_file(inside).include
            if decided is not None:
                return decided
        return False

    def _read(self, folder: Path, lines: list[str]) -> None:
        own = [*lines, *(line for name in NAMES for line in _lines(folder / name))]
        if own:
            key = folder.relative_to(self._start).as_posix()
            self._specs["" if key == "." else key] = GitIgnoreSpec.from_lines(own)


def _above_in_repository(folder: Path) -> Iterator[Path]:
    """The folders above ``folder`` up to the top of its repository; none outside of one."""
    if (folder / ".git").exists():
        return
    parents = []
    for parent in folder.parents:
        parents.append(parent)
        if (parent / ".git").exists():
            yield from parents
            return


def _lines(path: Path) -> list[str]:
    try:
        content = path.read_bytes()
    except OSError:
        return []
    return os.fsdecode(content).removeprefix("\ufeff").splitlines()
