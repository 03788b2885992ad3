"""The files of an attempt's directory that its server is to have, as they are now.

A file that grows (logs, metrics.jsonl, event files) is sent as far as it is. Any other is sent as a
whole, once it has not changed for a moment, and is there for the server only when all of it is.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from execution.launcher.files import file_time
from execution.launcher.nodes import NODE_FAILED, RENDEZVOUS, Node

REST_SECONDS: Final = 0.5
MAX_ENTRIES: Final = 50_000  # files that are listed
MAX_LOOKS: Final = 4 * MAX_ENTRIES  # files that are looked at
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
        self.left_out: list[str] = []  # of the checkpoint folder, when it was last looked at

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

    def _saved(self) -> list[str]:
        """The files below the checkpoint folder: what is directly in it, a file or a folder, with
        all of its files or not at all; the newest if there are too many. Inside a folder all names
        count: the parts of a checkpoint, zarr's for one, may begin with a dot."""
        folder = self._root / CHECKPOINTS
        room, looks = MAX_ENTRIES, MAX_LOOKS
        found: list[tuple[bool, str, list[Path]]] = []
        self.left_out = []
        for path in _newest_first(folder):
            files = list(islice(_files_of(path, folder), min(room, looks) + 1))
            looks -= min(looks, len(files))
            if len(files) > room or not looks:
                self.left_out.append(path.name)
                continue
            room -= len(files)
            found.append((path.is_dir(), path.name, files))
        return [
            str(file.relative_to(self._root)) for _, _, files in sorted(found) for file in files
        ]

    def _event_files(self, *, ended: bool) -> list[str]:
        now = time.monotonic()
        if ended or now >= self._next_look:
            found = []
            for number, path in enumerate(_files_below(self._root, NOT_SEARCHED)):
                if number >= MAX_ENTRIES:
                    break
                if EVENTS in path.name:
                    found.append(str(path.relative_to(self._root)))
            self._events = sorted(found)
            took = time.monotonic() - now
            self._next_look = time.monotonic() + took / LOOK_SHARE
        return self._events


def _files_below(folder: Path, skipped: frozenset[str]) -> Iterator[Path]:
    """Regular files, and links to such that lead out of ``folder``: those within it lead to files
    that are found by themselves."""
    real = os.path.realpath(folder)
    for current, folders, names in os.walk(folder):
        if current == str(folder):
            folders[:] = [name for name in folders if name not in skipped]
        folders.sort()
        for name in sorted(names):
            path = Path(current, name)
            if not _is_pointer(path, real):
                yield path


def _newest_first(folder: Path) -> list[Path]:
    """What is directly in the checkpoint folder, without what is still being written."""
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as items:
        for item in items:
            is_metadata = item.name == METADATA and item.is_file()
            if is_metadata or not is_temporary(item.name):
                with contextlib.suppress(FileNotFoundError):  # pruned
                    found.append((item.stat(follow_symlinks=False).st_mtime_ns, item.path))
    return [Path(path) for _modified_ns, path in sorted(found, reverse=True)]


def _files_of(path: Path, folder: Path) -> Iterator[Path]:
    """The files of what is directly in the checkpoint ``folder``: of a folder, all below it."""
    real = os.path.realpath(folder)
    if not path.is_dir():
        found: Iterator[Path] = iter([path])
    elif path.is_symlink():
        return
    else:
        found = _files_below(path, frozenset())
    for file in found:
        if not _is_pointer(file, real):
            yield file


def _is_pointer(path: Path, real: str) -> bool:
    """Whether it is a link to something below the folder whose real path is ``real``."""
    return path.is_symlink() and os.path.realpath(path).startswith(f"{real}/")


def is_temporary(name: str) -> bool:
    """Whether what has this name, directly in the checkpoint folder, is still being written."""
    return _TEMPORARY.fullmatch(name) is not None


def _is_at_rest(entry: Entry, now: float) -> bool:
    return (
        entry.grows
        or Path(entry.path).name in AT_ONCE
        or abs(now - entry.modified_ns / 1e9) >= REST_SECONDS
    )
