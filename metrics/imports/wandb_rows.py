"""A row of a history of Weights & Biases: what of it is a metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from metrics.imports.columns import Columns
from metrics.values import flat

# Images, tables and histograms are objects that say what they are.
_TYPE: Final = "._type"


def add_row(columns: Columns, step: int, seconds: float, row: Mapping[str, Any]) -> None:
    """Add the row's numbers, those of nested objects too, at a Unix time. An image, or the like, is
    one value that is left out, not the numbers that describe it."""
    cells = list(flat(row))
    media = tuple(
        key.removesuffix(_TYPE) + "."
        for key, value in cells
        if key.endswith(_TYPE) and value is not None
    )
    columns.left_out += len(media)
    for key, value in cells:
        if not key.startswith("_") and not key.startswith(media):
            columns.add(key, step, seconds, value)
