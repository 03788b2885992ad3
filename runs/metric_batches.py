"""Points that clients send through REST: read, and checked as a whole."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from django.utils.translation import gettext as _

from runs.points import InvalidPoint, Points
from trainhub.exceptions import InvalidInput
from trainhub.messages import invalid

MAX_POINTS: Final = 10_000

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class SentPoint(msgspec.Struct):
    """The timestamp is not optional: it is part of what makes a point sent again the same."""

    key: str
    step: Int64
    value: float | Literal["NaN", "Infinity", "-Infinity"]
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]


class SentPoints(msgspec.Struct):
    points: Annotated[list[SentPoint], msgspec.Meta(min_length=1, max_length=MAX_POINTS)]


_DECODER: Final = msgspec.json.Decoder(SentPoints)


def read(body: bytes) -> Points:
    """The points of a request's JSON. Raises InvalidInput, which names the bad one."""
    try:
        points = _DECODER.decode(body).points
    except msgspec.ValidationError as error:
        raise invalid(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(_("Not valid JSON: %(why)s") % {"why": error}) from None
    try:
        return Points.checked(
            [point.key for point in points],
            [point.step for point in points],
            [round(point.timestamp.timestamp() * 1000) for point in points],
            [float(point.value) for point in points],
        )
    except InvalidPoint as error:
        raise InvalidInput(error.reason, attr=f"points.{error.index}.key") from None
