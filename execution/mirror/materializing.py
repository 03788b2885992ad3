"""Writes what nodes have sent into the attempt's directory of the worker that holds the run.

What is there afterwards is what a launcher on this host would have left, with the times that the
node gave it. A file that is sent as a whole appears as a whole; what is directly in the checkpoint
folder, a file or a folder, appears only once every node that may have a part of it has sent that.

Bytes that were ingested are deleted from the database. A worker that has not written them itself
leaves a hole in their place. Nobody reads them again, unless the checkpoint has changed since: then
its holes are filled from the stored one.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from django.db import transaction

from execution.executor_state import AttemptNotes
from execution.executors.attempt import CLOCK, Attempt
from execution.executors.notes import notes_of
from execution.launcher import files
from execution.mirror.dropping import drop
from execution.mirror.ingested import Ingested, first_of_each, has_all, ingested_in, unpacked
from execution.mirror.paths import CHECKPOINTS, entry_of
from execution.mirror.writing import Writer
from execution.models import MirroredAttempt, MirroredChunk, MirroredFile, MirroredNode

logger = logging.getLogger(__name__)

# Path → version of what is in the directory; which of these are holes; and the revisions.
STATE: Final = "mirrored.json"
LAST: Final = "exit.json"


def materialize(mirrored: MirroredAttempt, attempt: Attempt) -> None:
    """Bring the attempt's directory up to date. Raises OSError, and the storage's errors."""
    nodes = list(mirrored.nodes.order_by("rank"))
    state = files.read(attempt.directory / STATE) or {}
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
    wanted = first_of_each(rows)
    writer = Writer(attempt.directory, state)
    held_back = _incomplete_entries(mirrored, nodes, rows)
    coming = {path: row for path, row in wanted.items() if entry_of(path) not in held_back}
    lost = _fill_holes(mirrored, attempt, writer, coming.values())

    def stays(path: str) -> bool:
        return entry_of(path) in held_back or any(path.startswith(folder) for folder in lost)

    # Before others take their names.
    writer.remove([path for path in writer.versions if path not in wanted and not stays(path)])
    # The ends last: with them the worker settles the attempt.
    for row in sorted(coming.values(), key=lambda row: _name(row) == LAST):
        if not stays(row.path):
            writer.write(row)
    content = {"revisions": revisions, "files": writer.versions, "holes": sorted(writer.holes)}
    files.write_atomically(attempt.directory / STATE, content)


def _fill_holes(
    mirrored: MirroredAttempt, attempt: Attempt, writer: Writer, rows: Iterable[MirroredFile]
) -> set[str]:
    """Fill the holes of ingested checkpoints that have changed since, which are ingested again.
    Returns the folders, with a slash, of those of which bytes are nowhere any more: they stay as
    they are."""
    lost: set[str] = set()
    for checkpoint in ingested_in(rows, notes_of(mirrored.run, attempt)):
        if checkpoint.is_unchanged:
            continue
        holes = [file for file in checkpoint.files if writer.lacks(file)]
        if holes and not _fill(mirrored, attempt, writer, checkpoint, holes):
            logger.warning(
                "%s of run %s was saved again, but what it had before is not stored any more",
                checkpoint.saved_as,
                mirrored.run_id,
            )
            lost.add(f"{CHECKPOINTS}/{checkpoint.saved_as}/")
    return lost


def _fill(
    mirrored: MirroredAttempt,
    attempt: Attempt,
    writer: Writer,
    checkpoint: Ingested,
    holes: list[MirroredFile],
) -> bool:
    with unpacked(mirrored.run, attempt, checkpoint) as folder:
        if folder is None or not has_all(folder, checkpoint, holes):
            return False
        for file in holes:
            writer.take(file, folder / checkpoint.inside(file))
    return True


def _incomplete_entries(
    mirrored: MirroredAttempt, nodes: list[MirroredNode], rows: list[MirroredFile]
) -> set[str]:
    """What is directly in the checkpoint folder and may lack something that a node has."""
    entries: dict[str, list[MirroredFile]] = defaultdict(list)
    ended = {row.node.rank for row in rows if _name(row) == LAST and row.is_whole}
    for row in rows:
        if entry := entry_of(row.path):
            entries[entry].append(row)
    are_all_here = len(nodes) == int(mirrored.launch.get("nodes", 1))
    incomplete = set()
    for entry, parts in entries.items():
        complete_at = max(row.received_at for row in parts)
        # One that has listed only some of its files has listed none of them after 0.
        is_listed = len(nodes) == 1 or all(
            node.listed_after > 0 and (node.rank in ended or node.listed_after >= complete_at)
            for node in nodes
        )
        if not (all(row.is_whole for row in parts) and is_listed and are_all_here):
            incomplete.add(entry)
    return incomplete


def _name(row: MirroredFile) -> str:
    return row.path.rpartition("/")[2]


def _note_clock(attempt: Attempt, node: MirroredNode) -> None:
    path = attempt.directory / CLOCK
    if not path.exists():
        files.write_atomically(path, node.clock_seconds)


# --- what is not needed any more -------------------------------------------------------------


def drop_ingested(mirrored: MirroredAttempt, notes: AttemptNotes) -> None:
    """Delete the bytes that were ingested, as ``notes`` tell: of text, those before the offsets; of
    checkpoints, all, unless they have changed since."""
    offsets = _offsets(notes)
    rows = list(MirroredFile.objects.filter(node__attempt=mirrored).order_by("node__rank", "path"))
    stored = {
        file.path: checkpoint
        for checkpoint in ingested_in(first_of_each(rows).values(), notes)
        if checkpoint.is_unchanged
        for file in checkpoint.files
    }
    waiting = set(
        MirroredChunk.objects.filter(file__node__attempt=mirrored).values_list("file", flat=True)
    )
    for file in (row for row in rows if row.pk in waiting):
        if file.size is None:
            chunks = _before(file, offsets.get(file.path, 0))
        elif file.path in stored and file.is_whole:
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


# --- an attempt of another worker's host -----------------------------------------------------


def restore(mirrored: MirroredAttempt, attempt: Attempt) -> None:
    """Create the attempt's directory on this host: its worker was another one's. Raises
    OSError, Unreadable."""
    if attempt.directory.exists():
        return
    launch = mirrored.whole_launch
    draft = attempt.directory.with_name(f".{attempt.directory.name}-{time.time_ns()}")
    draft.mkdir(mode=0o700, parents=True)
    (draft / CHECKPOINTS).mkdir()
    attempt.describe(draft, launch)
    for name, is_asked in (("stop-sent", mirrored.stop), ("killed", mirrored.kill)):
        if is_asked:
            files.raise_flag(draft / name)
    draft.rename(attempt.directory)
