"""Proofs that uploaded checkpoints are whole.

Each file of a checkpoint is proven when it is stored, from its first and last bytes; what is wrong
with it is in its metadata. A folder is judged whenever one of its files comes, changes or goes,
with the run's row locked: of two files that are uploaded at once, the second sees the first. The
judgement is in the metadata of the artifact that represents the folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from django.db.models import Q
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from artifacts import folders, layouts
from artifacts.blobs import StoredFile, storage_key
from artifacts.kinds import ArtifactType
from artifacts.models import Artifact
from artifacts.soundness import (
    DCP_METADATA,
    INDEX_SUFFIX,
    Proof,
    gap_problem,
    missing_problem,
    names_others,
    proof_of,
)
from artifacts.storage import open_in_parts
from runs.models import Run


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


def damage_of(run: Run, stored: StoredFile, type: ArtifactType | None) -> str:
    """Why the file that is about to be recorded is incomplete; empty if it is whole, not known, or
    no part of a checkpoint. Call before the run's row is locked: it reads the file."""
    folder, _layout = layouts.folder_of(stored.file)
    is_part = folder or type == ArtifactType.CHECKPOINT or layouts.is_checkpoint(stored.file)
    if not is_part and type is None:
        known = Artifact.objects.filter(run=run, file=stored.file).uploaded().checkpoints()
        is_part = known.exists()
    if not is_part:
        return ""
    if folder:
        named = Q(file__endswith=INDEX_SUFFIX) | Q(file__endswith=f"/{DCP_METADATA}")
        for part in _parts(run, folder, named):
            part.proof(run)  # read ahead, for ``judge``
    key = storage_key(run, ArtifactType.FILE, stored.file, stored.stored_as)
    return _proof(key, stored.file, stored.size_bytes).problem or ""


def judge(run: Run, checkpoint: Artifact, *, because_of: str = "") -> None:
    """Set the damage of a checkpoint that is a folder. Call with the run's row locked.

    ``because_of``: the path of the one file that is new, if it is only that.
    """
    is_affected = checkpoint.damage or folders.tells_of_others(because_of)
    if not checkpoint.folder or (because_of and not is_affected):
        return
    problem = folder_problem(run, checkpoint.folder)
    if (problem or "") != checkpoint.damage:
        checkpoint.set_damage(problem or "")
        checkpoint.save(update_fields=["metadata", "updated_at"])


def folder_problem(run: Run, folder: str) -> str | None:
    """Why the folder of uploaded files is incomplete; None if nothing is known against it."""
    parts = {part.file.removeprefix(f"{folder}/"): part for part in _parts(run, folder, Q())}
    return _first(
        _problem_of(run, name, part, parts) for name, part in parts.items()
    ) or gap_problem(parts.keys(), folder=PurePosixPath(folder).name)


def _parts(run: Run, folder: str, condition: Q) -> list[Part]:
    below = Artifact.objects.filter(condition, run=run).uploaded().below(folder)
    return [Part(*row) for row in below.order_by("file").values_list(*Part._fields)]


def _first(problems: Iterable[str | None]) -> str | None:
    return next((problem for problem in problems if problem), None)


def _problem_of(run: Run, name: str, part: Part, parts: dict[str, Part]) -> str | None:
    if part.type == ArtifactType.CHECKPOINT or names_others(name):
        # The damage of the checkpoint itself is that of the folder.
        proof = part.proof(run)
        problem = proof.problem or missing_problem(name, proof.named, parts)
    else:
        problem = part.metadata.get("damage")
    return f"{name}: {problem}" if problem else None


def _proof(key: str, path: str, size: int) -> Proof:
    return _cached_proof(key, path, size, get_language())


@lru_cache(maxsize=512)
def _cached_proof(key: str, path: str, size: int, language: str | None) -> Proof:
    """The bytes at an uploaded file's key never change."""
    try:
        with open_in_parts(key, size) as file:
            return proof_of(path, file)
    except FileNotFoundError:
        return Proof(_("its bytes are missing"))
