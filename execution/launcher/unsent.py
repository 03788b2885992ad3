"""What the server does not take of a node's files, and what readers of the run are told of it."""

from __future__ import annotations

import time
from typing import Any, Final

from execution.launcher.tree import CHECKPOINTS, EVENTS, MAX_ENTRIES, Entry

FULL_SECONDS: Final = 60.0  # that the server may be full without a word
# That the server may be full, and take nothing, before the end is sent without the rest. Longer
# than a worker needs for a large checkpoint.
STUCK_SECONDS: Final = 1800.0
MAX_PROBLEM: Final = 1000
MAX_SHOWN: Final = 5  # names


class Unsent:
    """Rejected files and listings are not sent again as long as they are the same."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[str, str]] = {}  # path → the file's stamp, why
        self._listing: tuple[list[Any], str] | None = None  # and why
        self._left_out = ""  # why some of the files are not even listed
        self._full: tuple[float, str] | None = None  # since when, in monotonic seconds, and why
        self._stuck_since: float | None = None  # in monotonic seconds

    def reject(self, entry: Entry, why: str) -> None:
        self._files[entry.path] = (entry.stamp, why)

    def has_rejected(self, entry: Entry) -> bool:
        return self._files.get(entry.path, ("", ""))[0] == entry.stamp

    def reject_listing(self, listing: list[Any], why: str) -> None:
        self._listing = (listing, why)

    def has_rejected_listing(self, listing: list[Any]) -> bool:
        return self._listing is not None and self._listing[0] == listing

    def accept_listing(self, entries: list[Entry]) -> None:
        """All ``entries`` are listed: what was rejected of others is past."""
        self._listing = None
        stamps = {entry.path: entry.stamp for entry in entries}
        self._files = {
            path: (stamp, why)
            for path, (stamp, why) in self._files.items()
            if stamps.get(path) == stamp
        }

    def leave_out(self, names: list[str]) -> None:
        """Note what is directly in the checkpoint folder and is not listed: there is too much."""
        shown = ", ".join(names[:MAX_SHOWN]) + (", …" if len(names) > MAX_SHOWN else "")
        text = f"there are more than {MAX_ENTRIES} files, so that these are left out: {shown}"
        self._left_out = text if names else ""

    def full(self, why: str) -> None:
        now = time.monotonic()
        self._full = (self._full[0] if self._full else now, why)
        self._stuck_since = now if self._stuck_since is None else self._stuck_since

    def taken(self) -> None:
        """The server has taken some bytes."""
        self._stuck_since = None

    def not_full(self) -> None:
        self._full = self._stuck_since = None

    @property
    def is_stuck(self) -> bool:
        """Whether the server has been full for so long that the end must not wait any more."""
        since = self._stuck_since
        return since is not None and time.monotonic() - since >= STUCK_SECONDS

    @property
    def is_empty(self) -> bool:
        return not (self._files or self._listing or self._left_out or self._full)

    @property
    def problem(self) -> str:
        """Which files are not sent, and why, if possible in the server's words; "" if there is no
        problem."""
        if self._listing is not None:
            return _plain(self._listing[1])
        if self._left_out:
            return _plain(f"{CHECKPOINTS}: {self._left_out}")
        for path, (_stamp, why) in self._files.items():
            return _plain(f"{path}: {why}")
        if self._full is not None and time.monotonic() - self._full[0] >= FULL_SECONDS:
            return _plain(self._full[1])
        return ""


def _plain(text: str) -> str:
    """As any server takes it: what cannot be sent must not keep the rest from it."""
    return text.replace("\0", "").encode(errors="replace").decode()[:MAX_PROBLEM].strip()


def without_new(entries: list[Entry], versions: list[str], known: dict[str, str]) -> list[Entry]:
    """Of a listing that was rejected, what launchers themselves write, and the checkpoints that the
    server knows as they are. ``known``: path → version."""
    new = {
        top_of(entry.path)
        for entry, version in zip(entries, versions, strict=True)
        if known.get(entry.path) != version
    }
    return [entry for entry in entries if is_own(entry) or top_of(entry.path) not in new]


def is_own(entry: Entry) -> bool:
    """Whether its name is the launcher's, not the training's."""
    return not entry.path.startswith(f"{CHECKPOINTS}/") and EVENTS not in entry.path


def top_of(path: str) -> str:
    """The checkpoint that a file is part of."""
    return "/".join(path.split("/", 2)[:2])
