"""Proofs that uploaded checkpoints are whole.

Each file of a checkpoint is proven when it is stored, from its first and last bytes; what is wrong
with it is in its metadata. A folder is judged whenever one of its files comes, changes or goes,
with the run's row locked: of two files that are uploaded at once, the second sees the first. The
judgement is in the metadata of the artifact that represents the folder.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterable
from functools import lru_cache, partial
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

from django.db.models import Q

from artifacts import folders, layouts
from artifacts.blobs import StoredFile, storage_key
from artifacts.kinds import ArtifactType
from artifacts.models import Artifact, damage_of
from artifacts.soundness import (
    DCP_METADATA,
    INDEX_SUFFIX,
    Proof,
    gap_problem,
    in_file,
    missing_problem,
    names_others,
    proof_of,
    recorded_step,
)
from artifacts.storage import open_in_parts
from core.messages import Message, Text
from runs.models import Run

# In a folder's metadata: which of its parts have come again (name → Unix seconds), and whether one
# of them has changed.
RENEWAL: Final = "renewal"
SAVE_SECONDS: Final = 3600.0  # longer than one save is uploaded


class Examined(NamedTuple):
    """What a file tells: why it is incomplete, and the step that is recorded in it."""

    damage: Text = ""
    step: int | None = None


class Part(NamedTuple):
    """A file of a folder: columns of its artifact."""

    file: str
    type: str
    metadata: dict[str, Any]
    stored_as: str
    size_bytes: int

    def proof(self, run: Run) -> Proof:
        key = storage_key(run, ArtifactType(self.type), self.file, self.stored_as)
        return _proof(key, self.file, self.size_bytes)


def examine(run: Run, stored: StoredFile, type: ArtifactType | None) -> Examined:
    """What the file that is about to be recorded tells, if it is part of a checkpoint. Call before
    the run's row is locked: it reads the file."""
    folder, _layout = layouts.folder_of(stored.file)
    is_part = folder or type == ArtifactType.CHECKPOINT or layouts.is_checkpoint(stored.file)
    if not is_part and type is None:
        known = Artifact.objects.filter(run=run, file=stored.file).uploaded().checkpoints()
        is_part = known.exists()
    if not is_part:
        return Examined()
    if folder:
        read_ahead(run, folder)
    key = storage_key(run, ArtifactType.FILE, stored.file, stored.stored_as)
    damage = _proof(key, stored.file, stored.size_bytes).problem or ""
    step = None
    if not folder:
        name = PurePosixPath(stored.file).name
        step = recorded_step({name: partial(open_in_parts, key, stored.size_bytes)})
    return Examined(damage, step)


def read_ahead(run: Run, folder: str) -> None:
    """Read what ``judge`` asks the files of ``folder``. Call before the run's row is locked."""
    is_asked = Q(type=ArtifactType.CHECKPOINT) | Q(file__endswith=INDEX_SUFFIX)
    for part in _parts(run, folder, is_asked | Q(file__endswith=f"/{DCP_METADATA}")):
        part.proof(run)


def judge(run: Run, checkpoint: Artifact, *, because_of: str = "") -> None:
    """Set the damage of a checkpoint that is a folder. Call with the run's row locked, and after
    ``read_ahead``.

    ``because_of``: the path of the one file that is new, if it is only that.
    """
    is_affected = checkpoint.damage or folders.tells_of_others(because_of)
    if not checkpoint.folder or (because_of and not is_affected):
        return
    folder, before = checkpoint.folder, checkpoint.metadata
    parts = _parts_by_name(run, folder)
    problem = _problem_in(run, folder, parts)
    renewal = before.get(RENEWAL)
    if problem is None and renewal is not None:
        problem = _earlier_save(run, parts, renewal["came"])
        if problem is None:
            checkpoint.metadata = {key: it for key, it in before.items() if key != RENEWAL}
        elif not renewal["changed"]:
            problem = None
    checkpoint.set_damage(problem or "")
    if checkpoint.metadata != before:
        checkpoint.save(update_fields=["metadata", "updated_at"])


def note_part(checkpoint: Artifact, part: Artifact, *, is_changed: bool) -> bool:
    """Note that ``part`` of a folder has come again. If one has changed, the folder is a mixture of
    two saves until all of its shards have come; those before it with the same bytes have too, if
    that was not long ago. Returns whether it is the first that has changed. Call before ``judge``.
    """
    inside = part.file.removeprefix(f"{checkpoint.folder}/")
    if not folders.tells_of_others(inside):
        return False
    now = time.time()
    renewal = checkpoint.metadata.get(RENEWAL, {"came": {}, "changed": False})
    is_first = is_changed and not renewal["changed"]
    came = {
        name: at for name, at in renewal["came"].items() if not is_first or now - at < SAVE_SECONDS
    }
    came[inside] = now
    changed = renewal["changed"] or is_changed
    checkpoint.metadata = {**checkpoint.metadata, RENEWAL: {"came": came, "changed": changed}}
    checkpoint.save(update_fields=["metadata", "updated_at"])
    return is_first


def folder_problem(run: Run, folder: str) -> Text | None:
    """Why the folder of uploaded files is incomplete; None if nothing is known against it."""
    return _problem_in(run, folder, _parts_by_name(run, folder))


def _problem_in(run: Run, folder: str, parts: dict[str, Part]) -> Text | None:
    return _first(
        _problem_of(run, name, part, parts) for name, part in parts.items()
    ) or gap_problem(parts.keys(), folder=PurePosixPath(folder).name)


def _earlier_save(run: Run, parts: dict[str, Part], came: Container[str]) -> Text | None:
    """Which shard has not come again. Those that no index names are left from an earlier save and
    are not read."""
    indexes = [name for name in parts if names_others(name)]
    named = {
        str(PurePosixPath(index).parent / other)
        for index in indexes
        for other in parts[index].proof(run).named
    }
    shards = {*indexes, *named} or {name for name in parts if folders.tells_of_others(name)}
    name = next((name for name in sorted(shards) if name not in came), None)
    return None if name is None else Message("%(file)s is of an earlier save", file=name)


def _parts_by_name(run: Run, folder: str) -> dict[str, Part]:
    """By their paths within the folder."""
    return {part.file.removeprefix(f"{folder}/"): part for part in _parts(run, folder, Q())}


def _parts(run: Run, folder: str, condition: Q) -> list[Part]:
    below = Artifact.objects.filter(condition, run=run).uploaded().below(folder)
    return [Part(*row) for row in below.order_by("file").values_list(*Part._fields)]


def _first(problems: Iterable[Text | None]) -> Text | None:
    return next((problem for problem in problems if problem), None)


def _problem_of(run: Run, name: str, part: Part, parts: dict[str, Part]) -> Text | None:
    if part.type == ArtifactType.CHECKPOINT or names_others(name):
        # The damage of the checkpoint itself is that of the folder.
        proof = part.proof(run)
        problem = proof.problem or missing_problem(name, proof.named, parts)
    else:
        problem = damage_of(part.metadata)
    return in_file(name, problem) if problem else None


@lru_cache(maxsize=512)
def _proof(key: str, path: str, size: int) -> Proof:
    """The bytes at an uploaded file's key never change."""
    try:
        with open_in_parts(key, size) as file:
            return proof_of(path, file)
    except FileNotFoundError:
        return Proof(Message("its bytes are missing"))
