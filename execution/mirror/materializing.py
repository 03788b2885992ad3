"""Writes what nodes have sent into the attempt's directory of the worker that holds the run.

What is there afterwards is what a launcher on this host would have left, with the times that the
node gave it. A file that is sent as a whole appears as a whole; what is directly in the checkpoint
folder, a file or a folder, appears only once every node that may have a part of it has sent that.

Bytes that were ingested are deleted from the database. A worker that has not written them itself
leaves a hole in their place: nobody reads them again.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from django.db import transaction

from execution.executor_state import AttemptNotes
from execution.executors.attempt import CLOCK, Attempt
from execution.launcher import files
from execution.mirror.dropping import drop
from execution.models import MirroredAttempt, MirroredChunk, MirroredFile, MirroredNode

STATE: Final = "mirrored.json"  # path → version of what is in the directory; and the revisions
CHECKPOINTS: Final = "checkpoints"
LAST: Final = "exit.json"


def materialize(mirrored: MirroredAttempt, attempt: Attempt) -> None:
    """Bring the attempt's directory up to date. Raises OSError, and the storage's errors."""
    nodes = list(mirrored.nodes.order_by("rank"))
    state = _read(attempt.directory / STATE)
    is_alone = len(nodes) == 1
    revisions = [[node.rank, node.revision, 0 if is_alone else node.listed_after] for node in nodes]
    if not nodes or revisions == state.get("revisions"):
        return
    _note_clock(attempt, nodes[0])
    rows = list(
        MirroredFile.objects.filter(node__attempt=mirrored)
        .select_related("node")
        .order_by("node__rank", "path")
    )
    wanted = _first_of_each(rows)
    writer = _Writer(attempt.directory, state.get("files", {}))
    held_back = _incomplete_entries(mirrored, nodes, rows)
    # The ends last: with them the worker settles the attempt.
    for row in sorted(wanted.values(), key=lambda row: _name(row) == LAST):
        if _entry_of(row.path) not in held_back:
            writer.write(row)
    writer.remove_others(wanted)
    content = {"revisions": revisions, "files": writer.versions}
    files.write_atomically(attempt.directory / STATE, content)


def _first_of_each(rows: Iterable[MirroredFile]) -> dict[str, MirroredFile]:
    """By path; of a file that several nodes have, the first node's."""
    found: dict[str, MirroredFile] = {}
    for row in rows:
        found.setdefault(row.path, row)
    return found


def _incomplete_entries(
    mirrored: MirroredAttempt, nodes: list[MirroredNode], rows: list[MirroredFile]
) -> set[str]:
    """What is directly in the checkpoint folder and may lack something that a node has."""
    entries: dict[str, list[MirroredFile]] = defaultdict(list)
    ended = {row.node.rank for row in rows if _name(row) == LAST and row.is_whole}
    for row in rows:
        if entry := _entry_of(row.path):
            entries[entry].append(row)
    count = int(mirrored.launch.get("nodes", 1))
    # One that has a problem may have parts that it cannot even list.
    is_complete = len(nodes) == count and not (count > 1 and any(node.problem for node in nodes))
    incomplete = set()
    for entry, parts in entries.items():
        complete_at = max(row.received_at for row in parts)
        is_listed = all(
            node.rank in ended or node.listed_after >= complete_at
            for node in nodes
            if len(nodes) > 1
        )
        if not (all(row.is_whole for row in parts) and is_listed and is_complete):
            incomplete.add(entry)
    return incomplete


def _entry_of(path: str) -> str:
    """What is directly in the checkpoint folder and has ``path``; "" if that is elsewhere."""
    parts = path.split("/", 2)
    return parts[1] if parts[0] == CHECKPOINTS and len(parts) > 1 else ""


def _name(row: MirroredFile) -> str:
    return row.path.rpartition("/")[2]


def _note_clock(attempt: Attempt, node: MirroredNode) -> None:
    path = attempt.directory / CLOCK
    if not path.exists():
        files.write_atomically(path, node.clock_seconds)


class _Writer:
    """``versions``: path → version of what is in the directory, as far as that is known."""

    def __init__(self, directory: Path, versions: dict[str, str]) -> None:
        self._directory = directory
        self.versions = dict(versions)

    def write(self, row: MirroredFile) -> None:
        path = self._directory / row.path
        if row.size is None:
            self._append(row, path)
        elif row.is_whole:
            self._replace(row, path)

    def _append(self, row: MirroredFile, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.versions.get(row.path) not in {row.version, None}:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        with open(path, "ab", opener=files.private) as file:
            size = file.tell()
            if size < row.received:
                self._write_from(row, file, size)
        self.versions[row.path] = row.version
        os.utime(path, ns=(row.modified_ns, row.modified_ns))

    def _write_from(self, row: MirroredFile, file: Any, size: int) -> None:
        """What follows the first ``size`` bytes. What is not kept any more becomes a hole."""
        for chunk in row.chunks.filter(start__lt=row.received).order_by("start").iterator():
            if chunk.start + chunk.size <= size:
                continue
            if chunk.start > size:
                file.truncate(chunk.start)
                size = chunk.start
            content = chunk.bytes()[size - chunk.start : row.received - chunk.start]
            file.write(content)
            file.flush()
            size += len(content)
        if size < row.received:
            file.truncate(row.received)

    def _replace(self, row: MirroredFile, path: Path) -> None:
        if self.versions.get(row.path) == row.version and path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".mirror-{os.getpid()}.tmp")
        try:
            with open(draft, "wb", opener=files.private) as file:
                self._write_from(row, file, 0)
            os.utime(draft, ns=(row.modified_ns, row.modified_ns))
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        self.versions[row.path] = row.version
        self._date_folders(path.parent, row.modified_ns)

    def _date_folders(self, folder: Path, modified_ns: int) -> None:
        """A folder of a checkpoint was touched when its newest file was written."""
        while folder != self._directory and CHECKPOINTS in folder.parts:
            newest = max(modified_ns, 0)
            with contextlib.suppress(OSError):
                times = [item.stat().st_mtime_ns for item in folder.iterdir() if item.is_file()]
                newest = max([modified_ns, *times])
                os.utime(folder, ns=(newest, newest))
            folder = folder.parent

    def remove_others(self, wanted: Iterable[str]) -> None:
        """Remove what its node has removed."""
        for path in set(self.versions) - set(wanted):
            target = self._directory / path
            target.unlink(missing_ok=True)
            self._remove_empty(target.parent)
            del self.versions[path]

    def _remove_empty(self, folder: Path) -> None:
        top = self._directory / CHECKPOINTS
        while folder.is_relative_to(top) and folder != top:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}


# --- what is not needed any more -------------------------------------------------------------


def drop_ingested(mirrored: MirroredAttempt, notes: AttemptNotes) -> None:
    """Delete the bytes that were ingested, as ``notes`` tell: of text, those before the offsets; of
    checkpoints, all."""
    offsets = _offsets(notes)
    saved = notes.get("checkpoints", {})
    for file in MirroredFile.objects.filter(node__attempt=mirrored, received__gt=0):
        if file.size is None:
            chunks = _before(file, offsets.get(file.path, 0))
        elif any(_is_of(file, path, entry) for path, entry in saved.items()):
            chunks = file.chunks.all()
        else:
            continue
        if chunks.exists():
            with transaction.atomic():
                drop(file.node_id, chunks)


def _offsets(notes: AttemptNotes) -> dict[str, int]:
    found = {
        "stdout.log": notes.get("stdout", 0),
        "stderr.log": notes.get("stderr", 0),
        "metrics.jsonl": notes.get("metrics", 0),
    }
    for rank, own in notes.get("nodes", {}).items():
        found[f"node-{rank}/stdout.log"] = own.get("stdout", 0)
        found[f"node-{rank}/stderr.log"] = own.get("stderr", 0)
    return found


def _before(file: MirroredFile, offset: int) -> Any:
    """Chunks that end at ``offset`` at the latest; of adjacent ones, the ends are in order."""
    last = MirroredChunk.objects.filter(file=file, start__lt=offset).order_by("-start").first()
    if last is None:
        return MirroredChunk.objects.none()
    end = last.start + last.size
    limit = offset if end <= offset else last.start
    return MirroredChunk.objects.filter(file=file, start__lt=limit)


def _is_of(file: MirroredFile, saved_as: str, entry: list[int]) -> bool:
    """Whether the file is of an ingested checkpoint, and not newer than that. ``entry``: of the
    notes: its size, when it was modified, how many files it has."""
    path = f"{CHECKPOINTS}/{saved_as}"
    inside = file.path == path or file.path.startswith(f"{path}/")
    return inside and file.is_whole and file.modified_ns <= entry[1]


# --- an attempt of another worker's host -----------------------------------------------------


def restore(mirrored: MirroredAttempt, attempt: Attempt) -> None:
    """Create the attempt's directory on this host: its worker was another one's. Raises
    OSError."""
    if attempt.directory.exists():
        return
    draft = attempt.directory.with_name(f".{attempt.directory.name}-{time.time_ns()}")
    draft.mkdir(mode=0o700, parents=True)
    (draft / CHECKPOINTS).mkdir()
    attempt.describe(draft, dict(mirrored.launch))
    for name, is_asked in (("stop-sent", mirrored.stop), ("killed", mirrored.kill)):
        if is_asked:
            files.raise_flag(draft / name)
    draft.rename(attempt.directory)
