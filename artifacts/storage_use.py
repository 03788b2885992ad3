"""How many bytes are stored, by run, project or owner, for who sees them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from artifacts.storage_use_queries import StorageGrouping, StorageUse, all_bytes, storage_use
from projects.sight import Sight


@dataclass(frozen=True, slots=True)
class StorageReport:
    """``groups``: the largest ones, at most as many as were asked for; the sums are of all."""

    by: StorageGrouping
    groups: Sequence[StorageUse]
    group_count: int
    size_bytes: int
    trash_bytes: int
    file_count: int


def storage_report(
    by: StorageGrouping, *, sight: Sight, project_id: str | None = None, limit: int
) -> StorageReport:
    """``project_id``: of this project alone, which its reader must see."""
    found = storage_use(by, visible=sight.ids, project_id=project_id)
    return StorageReport(
        by,
        found[:limit],
        len(found),
        sum(group.size_bytes for group in found),
        sum(group.trash_bytes for group in found),
        sum(group.file_count for group in found),
    )


class _Total:
    """Prometheus asks often, and the sum reads the whole table."""

    REMEMBERED_SECONDS: Final = 60.0

    def __init__(self) -> None:
        self._until = 0.0  # monotonic seconds
        self._bytes = (0, 0)

    def read(self) -> tuple[int, int]:
        if time.monotonic() >= self._until:
            self._bytes = all_bytes()
            self._until = time.monotonic() + self.REMEMBERED_SECONDS
        return self._bytes


_total: Final = _Total()


def stored_bytes() -> tuple[int, int]:
    """(all that is stored, what of it is in the trash), as of at most a minute ago."""
    return _total.read()
