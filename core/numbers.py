"""64-bit integers, and numbers that are not finite: JSON has none, so they are sent as strings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias, cast, get_args, overload

import msgspec

MIN_BIGINT: Final = -(2**63)  # PostgreSQL's bigint
MAX_BIGINT: Final = 2**63 - 1
Int64 = Annotated[int, msgspec.Meta(ge=MIN_BIGINT, le=MAX_BIGINT)]

NonFinite: TypeAlias = Literal["NaN", "Infinity", "-Infinity"]
NON_FINITE: Final[tuple[str, ...]] = get_args(NonFinite)
# OpenAPI alternatives for a number that may not be finite.
NUMBER_SCHEMA: Final[list[dict[str, Any]]] = [{"type": "number"}, {"enum": list(NON_FINITE)}]


@overload
def json_number(value: float) -> float | str: ...
@overload
def json_number(value: None) -> None: ...
def json_number(value: float | None) -> float | str | None:
    """``value``, or its name if it is not finite; None stays None."""
    if value is None or math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def json_numbers(values: Sequence[float | None]) -> Sequence[float | str | None]:
    """``json_number`` of each; mostly there is nothing to do."""
    if None not in values and all(map(math.isfinite, cast(Sequence[float], values))):
        return values
    return [json_number(value) for value in values]
