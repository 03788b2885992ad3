"""Reads stored artifacts again, and notes whose bytes are no longer those that were stored."""

from __future__ import annotations

import time
from typing import Final

from django.db import transaction

from artifacts.models import Artifact
from artifacts.soundness import in_file
from artifacts.uploaded_files import checkpoint_around
from core.messages import Text
from runs.status import TERMINAL

# A run that rewrites one of its own files writes the bytes some milliseconds before their row.
SETTLED_WITHIN_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.2


def verify(artifact: Artifact) -> Text | None:
    """Compare the stored bytes with the recorded size and sha256; why they differ, None if they do
    not. Notes it: a checkpoint that is damaged, or a file of it, is not resumed from or tagged.

    Reads all bytes: do not call it while holding a row lock. ``artifact.run`` is loaded.
    """
    problem = _settled_problem(artifact)
    is_changed = _note(artifact, problem)
    around = checkpoint_around(artifact.run, artifact.file) if artifact.is_uploaded else None
    if is_changed and around is not None and around.pk != artifact.pk:
        _note(around, around.storage_problem())
    return problem


def _settled_problem(artifact: Artifact) -> Text | None:
    """Of its current row, which it becomes; None also if it has been deleted meanwhile."""
    deadline = time.monotonic() + SETTLED_WITHIN_SECONDS
    while (problem := artifact.storage_problem()) is not None:
        current = Artifact.objects.select_related("run").filter(pk=artifact.pk).first()
        if current is None:
            return None
        is_rewritten = not current.is_uploaded and current.run.status not in TERMINAL
        if _is_same(current, artifact):
            if not is_rewritten or time.monotonic() > deadline:
                return problem
            time.sleep(POLL_SECONDS)
        artifact.__dict__.update(current.__dict__)
    return None


def _is_same(row: Artifact, other: Artifact) -> bool:
    return (row.storage_key, row.sha256) == (other.storage_key, other.sha256)


def _note(artifact: Artifact, problem: Text | None) -> bool:
    """Whether this is news."""
    with transaction.atomic():
        rows = Artifact.objects.select_related("run").select_for_update(no_key=True, of=("self",))
        row = rows.filter(pk=artifact.pk).first()
        if row is None or not _is_same(row, artifact):
            return False
        if problem is None:
            row.note_verified()
            problem = _problem_of_part(row)
        if problem is not None and (row.is_damaged_in_storage or not row.damage):
            row.set_damage(problem, in_storage=True)
        elif problem is None and row.is_damaged_in_storage:
            row.set_damage("")
        if row.metadata == artifact.metadata:
            return False
        row.save(update_fields=["metadata", "updated_at"])
        artifact.metadata = row.metadata
    return True


def _problem_of_part(checkpoint: Artifact) -> Text | None:
    """What is noted of another file of a checkpoint that is a folder."""
    if not checkpoint.folder:
        return None
    for part in checkpoint.parts():
        if part.pk != checkpoint.pk and part.is_damaged_in_storage:
            return in_file(part.file.removeprefix(f"{checkpoint.folder}/"), part.damage)
    return None
