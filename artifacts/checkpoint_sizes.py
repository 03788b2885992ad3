"""How large checkpoints are: one that is a folder has the bytes of all its files.

The row of such a checkpoint is that of one file, often a small index.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from django.db.models import QuerySet

from artifacts.models import Artifact
from core.database import Statement, Texts

# For each folder a range of the index of uploaded paths, in whose collation "0" follows "/".
FOLDER_SIZES: Final = Statement("""
SELECT asked.position - 1, coalesce(files.size_bytes, 0)::bigint
FROM unnest(%(run_ids)s::text[], %(folders)s::text[])
        WITH ORDINALITY AS asked (run_id, folder, position)
    CROSS JOIN LATERAL (
        SELECT sum(size_bytes) AS size_bytes
        FROM artifacts_artifact
        WHERE run_id = asked.run_id
            AND stored_as <> ''
            AND deletion_id IS NULL
            AND file >= (asked.folder || '/') COLLATE "C"
            AND file < (asked.folder || '0') COLLATE "C"
    ) AS files
""")


class Sized(Protocol):
    """What is asked of a checkpoint: an Artifact, or part of its row."""

    @property
    def pk(self) -> Any: ...

    @property
    def run_id(self) -> str: ...

    @property
    def folder(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...


def sizes_of(checkpoints: Iterable[Sized]) -> dict[str, int]:
    """Checkpoint id → bytes. One query, or none if no checkpoint is a folder."""
    checkpoints = list(checkpoints)
    sizes = {checkpoint.pk: checkpoint.size_bytes for checkpoint in checkpoints}
    places = [(checkpoint, checkpoint.folder) for checkpoint in checkpoints]
    folders = [(checkpoint, folder) for checkpoint, folder in places if folder]
    if folders:
        rows = FOLDER_SIZES.rows(
            run_ids=Texts([checkpoint.run_id for checkpoint, _folder in folders]),
            folders=Texts([folder for _checkpoint, folder in folders]),
        )
        sizes |= {folders[position][0].pk: size_bytes for position, size_bytes in rows}
    return sizes


def ids_by_size(checkpoints: QuerySet[Artifact], *, largest_first: bool) -> Sequence[str]:
    """The ids of all ``checkpoints``; of equals, in the order of their ids.

    Whether a checkpoint is a folder follows from its path by rules that SQL cannot express, so
    that this reads a few columns of all of them.
    """
    columns = ("pk", "run_id", "type", "file", "stored_as", "size_bytes")
    sizes = sizes_of(checkpoints.only(*columns).order_by())
    sign = -1 if largest_first else 1
    return sorted(sizes, key=lambda pk: (sign * sizes[pk], pk))
