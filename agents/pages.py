"""Arguments that lists of tools have in common."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

MAX_OFFSET = 1_000_000

Limit = Annotated[int, Meta(ge=1, le=50, description="At most so many rows.")]
Offset = Annotated[
    int,
    Meta(ge=0, le=MAX_OFFSET, description="Skip so many rows: next_offset of the answer before."),
]
