"""Sends what grows in a node's attempt directory to the server, and brings back what it asks for.

The directory is the spool: nothing is lost while the server is away, whatever that means, and
nothing is kept elsewhere. The server knows how many bytes it has of each version of each file; a
repeated chunk changes nothing there, and a gap is refused. So a mirror that was killed begins where
the server says.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from execution.launcher import files
from execution.launcher.files import file_time, raise_flag, write_atomically
from execution.launcher.hub import (
    REFUSED_SECONDS,
    Away,
    Full,
    Hub,
    OutOfStep,
    Refused,
    Rejected,
    Unauthorized,
)
from execution.launcher.nodes import NODE_FAILED, RENDEZVOUS, Node
from execution.launcher.tree import CHECKPOINTS, Entry, Tree
from execution.launcher.unsent import Unsent, top_of, without_new

CHUNK_BYTES: Final = 8 * 1024 * 1024
PROBE_BYTES: Final = 64 * 1024  # of a file that the server may not take for now
POLL_SECONDS: Final = 1.0
SOON_SECONDS: Final = 0.2  # after something was sent, or asked for
LONGEST_PAUSE_SECONDS: Final = 5.0


class Mirror:
    """One node's. ``launcher``: an id of this directory: a node has one."""

    def __init__(self, node: Node, hub: Hub, launcher: str) -> None:
        self._node, self._hub, self._launcher = node, hub, launcher
        self._tree = Tree(node)
        self._versions: dict[str, tuple[str, Entry]] = {}
        self._known: dict[str, tuple[str, int]] | None = None  # as the server says
        self._told: list[Any] | None = None  # the last listing that it has taken
        self._is_all_listed = True  # in what is told
        self._told_problem = ""
        self.unsent = Unsent()
        self._seen = 0.0

    # --- one pass ----------------------------------------------------------------------------

    def run_once(self, *, ended: bool) -> bool:
        """Send what is new; True if that, with the end, is all. Raises Refused, Rejected, Away."""
        if self._known is None:
            self._sync(None)
        entries = self._tree.entries(ended=ended)
        self.unsent.leave_out(self._tree.left_out)
        ending = self._tree.ending() if ended else None
        if ending is not None:
            entries.append(ending)
        listed = [entry for entry in self._listed(entries) if entry is not ending]
        is_all = self._send_all(listed, ended=ended)
        if ending is None or not is_all:
            return False
        if self.unsent.problem != self._told_problem:
            self._sync(None)  # nobody asks after the end
        return self._send(ending)

    def _send_all(self, entries: list[Entry], *, ended: bool) -> bool:
        """False if some have changed meanwhile. A checkpoint for which the server is full keeps the
        others from nothing: it may be full for that one alone. Raises Full, unless the end must not
        wait for that any more."""
        is_all, full = True, None
        waiting: set[str] = set()
        for entry in entries:
            if top_of(entry.path) in waiting:
                continue
            try:
                is_all = self._send(entry, is_probe=full is not None) and is_all
            except Full as error:
                full = error
                if not entry.path.startswith(f"{CHECKPOINTS}/"):
                    break  # what was printed before a checkpoint comes before it
                waiting.add(top_of(entry.path))
        if full is None:
            self.unsent.not_full()
        elif not (ended and self.unsent.is_stuck):
            raise full
        return is_all

    def _listed(self, entries: list[Entry]) -> list[Entry]:
        """Tell the server what there is; what of it can be sent. Raises Refused, Rejected, Away."""
        listing = [self._described(entry) for entry in entries]
        if not self.unsent.has_rejected_listing(listing):
            self._is_all_listed = not self._tree.left_out
            try:
                self._tell(listing)
            except Rejected as error:
                _say(f"the server does not take the files that are here: {error}")
                self.unsent.reject_listing(listing, str(error))
            else:
                self.unsent.accept_listing(entries)
                return entries
        self._is_all_listed = False
        known = {path: version for path, (version, _size) in (self._known or {}).items()}
        kept = without_new(entries, [item["version"] for item in listing], known)
        self._tell([self._described(entry) for entry in kept])
        return kept

    def _tell(self, listing: list[Any]) -> None:
        self._sync(listing if listing != self._told else None)
        self._told = listing

    def _described(self, entry: Entry) -> dict[str, Any]:
        about = {"path": entry.path, "version": self._version(entry), "grows": entry.grows}
        if entry.grows:
            return about
        return {**about, "size": entry.size, "modified_ns": max(0, entry.modified_ns)}

    def _version(self, entry: Entry) -> str:
        """Names the content: of a file that grows, as long as it only does."""
        if not entry.grows:
            return entry.stamp
        before = self._versions.get(entry.path)
        known, size = (self._known or {}).get(entry.path, ("", 0))
        same_file = known.partition(".")[0] == str(entry.inode)
        if before is not None and before[1].inode == entry.inode:
            version = before[0] if entry.size >= before[1].size else entry.stamp
        elif same_file and entry.size >= size:
            version = known
        else:
            version = f"{entry.inode}.0"
        self._versions[entry.path] = (version, entry)
        return version

    def _sync(self, listing: list[Any] | None) -> None:
        report = {
            "launcher": self._launcher,
            "now": file_time(self._node.attempt),
            "seen": self._seen if self._is_all_listed else 0.0,
            "files": listing,
            "knows": self._known is not None,
        }
        if problem := self.unsent.problem:
            report["problem"] = problem
        answer = self._hub.sync(self._node.rank, report)
        self._told_problem = problem
        self._seen = float(answer["now"])
        if answer["files"] is not None:
            self._known = {
                file["path"]: (file["version"], int(file["size"])) for file in answer["files"]
            }
        self._obey(answer)

    def _obey(self, answer: dict[str, Any]) -> None:
        """Do what the server asks for as any worker on this host would: by files."""
        folder = self._node.attempt
        with contextlib.suppress(OSError):
            for name, asked in (("stop-sent", answer["stop"]), ("killed", answer["kill"])):
                if asked:
                    raise_flag(folder / name)
            shared = ((RENDEZVOUS, answer["meeting"]), (NODE_FAILED, answer["failed"]))
            for name, content in shared:
                if content is not None and not (folder / name).exists():
                    write_atomically(folder / name, content)

    def _send(self, entry: Entry, *, is_probe: bool = False) -> bool:
        """Send what the server lacks of the file, unless it will not have it; False if it has
        changed meanwhile. ``is_probe``: the first bytes may be in vain."""
        if self.unsent.has_rejected(entry):
            return True
        version = self._version(entry)
        known = (self._known or {}).get(entry.path, ("", 0))
        offset = known[1] if known[0] == version else 0
        limit = PROBE_BYTES if is_probe else CHUNK_BYTES
        try:
            with open(self._node.attempt / entry.path, "rb") as file:
                while offset < entry.size:
                    file.seek(offset)  # the server may have less than was sent, or more
                    chunk = file.read(min(limit, entry.size - offset))
                    if not chunk or not self._is_same(entry):
                        return False
                    size = self._put(entry, version, offset, chunk)
                    if size <= offset:
                        return False
                    offset, limit = size, CHUNK_BYTES
                    self.unsent.taken()
        except OutOfStep:
            self._known = self._told = None  # ask anew
            return False
        except Rejected as error:
            _say(f"the server does not take {entry.path}: {error}")
            self.unsent.reject(entry, str(error))
        except Full as error:
            self.unsent.full(str(error))
            raise
        except FileNotFoundError:
            return False  # pruned
        return True

    def _put(self, entry: Entry, version: str, offset: int, chunk: bytes) -> int:
        size = self._hub.put(
            self._node.rank,
            chunk,
            path=entry.path,
            version=version,
            offset=offset,
            modified_ns=max(0, entry.modified_ns),
            launcher=self._launcher,
        )
        if self._known is not None:
            self._known[entry.path] = (version, size)
        return size

    def _is_same(self, entry: Entry) -> bool:
        """Whether the file is as it was found: then what was read is, too."""
        if entry.grows:
            return True
        now = Path(self._node.attempt, entry.path).stat()
        return (now.st_ino, now.st_size, now.st_mtime_ns) == (
            entry.inode,
            entry.size,
            entry.modified_ns,
        )

    # --- until the end -----------------------------------------------------------------------

    def run(self, has_ended: Callable[[], bool]) -> None:
        """Until everything has been sent, with the end. Raises Refused, and Rejected if the server
        takes no report at all."""
        failures = 0
        refused_since: float | None = None
        while True:
            ended = has_ended()
            try:
                if self.run_once(ended=ended):
                    return
            except (Unauthorized, Rejected) as error:
                refused_since = refused_since or time.monotonic()
                if time.monotonic() - refused_since > REFUSED_SECONDS:
                    raise final(error) from None
                failures += 1
            except (Away, OutOfStep, OSError, KeyError, ValueError) as error:
                if failures == 0:
                    _say(f"the server is away, what is written here waits: {error}")
                failures += 1
            else:
                if failures:
                    _say("the server is back")
                failures, refused_since = 0, None
            pause = SOON_SECONDS if ended else POLL_SECONDS
            time.sleep(min(LONGEST_PAUSE_SECONDS, pause * 2 ** min(failures, 5)))


def final(error: Unauthorized | Rejected) -> Exception:
    """What such an error is once it has lasted REFUSED_SECONDS."""
    return error if isinstance(error, Rejected) else Refused(str(error))


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, flush=True)  # noqa: T201


def read_note(path: Path) -> Any:
    try:
        return files.read(path)
    except ValueError:
        return None
