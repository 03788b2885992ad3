"""The files of an attempt's directory that its server is to have, as they are now.

A file that grows (logs, metrics.jsonl, event files) is sent as far as it is. Any other is sent as a
whole, once it has not changed for a moment, and is there for the server only when all of it is.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from execution.launcher.files import file_time
from execution.launcher.nodes import NODE_FAILED, RENDEZVOUS, Node

REST_SECONDS: Final = 0.5
MAX_ENTRIES: Final = 50_000
MAX_PATH_BYTES: Final = 1000
EVENTS: Final = "tfevents"
CHECKPOINTS: Final = "checkpoints"
NOT_SEARCHED: Final = frozenset({"resume", "code", "repository", CHECKPOINTS})
# What is still being written, directly in the checkpoint folder: as in artifacts/layouts.py, which
# nodes do not have. But PyTorch's DCP saves a ``.metadata`` there.
_TEMPORARY: Final = re.compile(
    r"\..*|tmp[-_].*|.*\.(tmp|part|partial|incomplete)|.*\.tmp.*|.*orbax-checkpoint-tmp.*|.*~",
    re.IGNORECASE,
)
METADATA: Final = ".metadata"
# By the launcher or the agent, atomically.
AT_ONCE: Final = ("launcher.json", "process.json", RENDEZVOUS, NODE_FAILED)
LAST: Final = "exit.json"
LOOK_SHARE: Final = 0.01  # of the time that looking for event files takes at most


@dataclass(frozen=True)
class Entry:
    """A file: its path in the attempt's directory, and whether it only grows."""

    path: str
    grows: bool
    inode: int
    size: int
    modified_ns: int

    @property
    def stamp(self) -> str:
        return f"{self.inode}.{self.size}.{self.modified_ns}"


class Tree:
    """Looks at one node's files."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._root = node.attempt
        self._events: list[str] = []
        self._next_look = 0.0

    def entries(self, *, ended: bool) -> list[Entry]:
        """What there is, in the order in which it is to be sent: what was printed and reported
        before a checkpoint was saved comes before it."""
        own = "" if self._node.rank == 0 else f"node-{self._node.rank}/"
        growing = [f"{own}{name}" for name in ("stdout.log", "stderr.log", "launcher.log")]
        whole = [f"{own}{name}" for name in AT_ONCE[:2]] + [NODE_FAILED]
        if self._node.rank == 0:
            growing += ["metrics.jsonl", *self._event_files(ended=ended)]
            whole += [RENDEZVOUS, "evaluation.json"]
        found = [self._entry(path, grows=True) for path in growing]
        found += [self._entry(path, grows=False) for path in whole]
        found += [self._entry(path, grows=False) for path in self._saved()]
        now = file_time(self._root)
        return [item for item in found if item is not None and (ended or _is_at_rest(item, now))]

    def ending(self) -> Entry | None:
        own = "" if self._node.rank == 0 else f"node-{self._node.rank}/"
        return self._entry(f"{own}{LAST}", grows=False)

    def _entry(self, path: str, *, grows: bool) -> Entry | None:
        try:
            is_named = len(path.encode()) <= MAX_PATH_BYTES
            status = os.stat(self._root / path)
        except (OSError, UnicodeEncodeError):  # no name that a server can store
            return None
        if not is_named or not stat.S_ISREG(status.st_mode):
            return None
        return Entry(path, grows, status.st_ino, status.st_size, status.st_mtime_ns)

    def _saved(self) -> Iterator[str]:
        """Inside a folder all names count: the parts of a checkpoint, zarr's for one, may begin
        with a dot."""
        folder = self._root / CHECKPOINTS
        for number, path in enumerate(_files_below(folder, is_temporary)):
            if number >= MAX_ENTRIES:
                return
            if path.parent != folder or path.name == METADATA or not is_temporary(path.name):
                yield str(path.relative_to(self._root))

    def _event_files(self, *, ended: bool) -> list[str]:
        now = time.monotonic()
        if ended or now >= self._next_look:
            found = []
            for number, path in enumerate(_files_below(self._root, NOT_SEARCHED.__contains__)):
                if number >= MAX_ENTRIES:
                    break
                if EVENTS in path.name:
                    found.append(str(path.relative_to(self._root)))
            self._events = sorted(found)
            took = time.monotonic() - now
            self._next_look = time.monotonic() + took / LOOK_SHARE
        return self._events


def _files_below(folder: Path, is_skipped: Callable[[str], bool]) -> Iterator[Path]:
    """Regular files, and links to such that lead out of ``folder``: those within it lead to files
    that are found by themselves. ``is_skipped``: of the name of a folder directly in it."""
    real = os.path.realpath(folder)
    for current, folders, names in os.walk(folder):
        if current == str(folder):
            folders[:] = [name for name in folders if not is_skipped(name)]
        folders.sort()
        for name in sorted(names):
            path = Path(current, name)
            is_pointer = path.is_symlink() and os.path.realpath(path).startswith(f"{real}/")
            if not is_pointer:
                yield path


def is_temporary(name: str) -> bool:
    """Whether what has this name, directly in the checkpoint folder, is still being written."""
    return _TEMPORARY.fullmatch(name) is not None


def _is_at_rest(entry: Entry, now: float) -> bool:
    return (
        entry.grows
        or Path(entry.path).name in AT_ONCE
        or abs(now - entry.modified_ns / 1e9) >= REST_SECONDS
    )
