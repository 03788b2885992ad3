"""Points that clients send through the REST API, validated as a whole."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec
from django.utils.translation import gettext as _

from core.exceptions import InvalidInput
from core.msgspec_errors import invalid
from core.numbers import Int64, NonFinite
from core.times import YEAR_RANGE, is_time, unix_milliseconds
from metrics.points import InvalidPoint, Points

MAX_POINTS: Final = 10_000


class SentPoint(msgspec.Struct, forbid_unknown_fields=True):
    """The timestamp is required: as part of a point's identity it makes sending idempotent."""

    key: str
    step: Int64
    value: float | NonFinite
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]


class SentPoints(msgspec.Struct, forbid_unknown_fields=True):
    points: Annotated[list[SentPoint], msgspec.Meta(min_length=1, max_length=MAX_POINTS)]


_DECODER: Final = msgspec.json.Decoder(SentPoints)


def read(body: bytes) -> Points:
    """The points of a request body. Raises InvalidInput, which names the bad point."""
    try:
        points = _DECODER.decode(body).points
    except msgspec.ValidationError as error:
        raise invalid(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(_("Not valid JSON: %(why)s") % {"why": error}) from None
    timestamps_ms = [unix_milliseconds(point.timestamp.timestamp()) for point in points]
    _check_times(timestamps_ms)
    try:
        return Points.checked(
            [point.key for point in points],
            [point.step for point in points],
            timestamps_ms,
            [float(point.value) for point in points],
        )
    except InvalidPoint as error:
        raise InvalidInput(error.reason, attr=f"points.{error.index}.key") from None


def _check_times(timestamps_ms: list[int]) -> None:
    """Raises InvalidInput, which names the first point whose time is out of range."""
    if is_time(min(timestamps_ms)) and is_time(max(timestamps_ms)):
        return
    index = next(number for number, at in enumerate(timestamps_ms) if not is_time(at))
    raise InvalidInput(YEAR_RANGE, attr=f"points.{index}.timestamp")
