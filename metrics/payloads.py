"""Points that clients send through the REST API, validated as a whole: one by one, or in columns.

{"points": [{"key": …, "step": …, "value": …, "timestamp": "2024-01-02T10:15:00Z"}, …]}
{"metrics": {key: {"steps": […], "values": […], "timestamps_ms": [Unix time, …]}, …}}
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec
from django.utils.translation import gettext as _
from msgspec import UNSET, UnsetType

from core.exceptions import InvalidInput
from core.msgspec_errors import invalid
from core.numbers import Int64, NonFinite
from core.times import YEAR_RANGE, is_time, unix_milliseconds
from metrics.points import InvalidPoint, Points, invalid_key, is_key

MAX_POINTS: Final = 10_000


class SentPoint(msgspec.Struct, forbid_unknown_fields=True):
    """The timestamp is required: as part of a point's identity it makes sending idempotent."""

    key: str
    step: Int64
    value: float | NonFinite
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]


class SentColumns(msgspec.Struct, forbid_unknown_fields=True):
    """The points of one metric; point i is (steps[i], timestamps_ms[i], values[i])."""

    steps: list[Int64]
    values: list[float | NonFinite]
    timestamps_ms: list[int]


class SentPoints(msgspec.Struct, forbid_unknown_fields=True):
    """Either of them."""

    points: list[SentPoint] | UnsetType = UNSET
    metrics: dict[str, msgspec.Raw] | UnsetType = UNSET  # of SentColumns


_DECODER: Final = msgspec.json.Decoder(SentPoints)
_COLUMNS_DECODER: Final = msgspec.json.Decoder(SentColumns)


def read(body: bytes) -> Points:
    """The points of a request body. Raises InvalidInput, which names the bad point."""
    try:
        sent = _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise invalid(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(_("Not valid JSON: %(why)s") % {"why": error}) from None
    if sent.metrics is not UNSET and sent.points is UNSET:
        return _from_columns(sent.metrics)
    if sent.points is UNSET or sent.metrics is not UNSET:
        raise InvalidInput(_("Send either “points” or “metrics”."))
    return _from_rows(sent.points)


def _from_rows(points: list[SentPoint]) -> Points:
    _check_number(len(points), "points")
    timestamps_ms = [unix_milliseconds(point.timestamp.timestamp()) for point in points]
    _check_times(timestamps_ms, "points", field=".timestamp")
    try:
        return Points.checked(
            [point.key for point in points],
            [point.step for point in points],
            timestamps_ms,
            _floats([point.value for point in points]),
        )
    except InvalidPoint as error:
        raise InvalidInput(error.reason, attr=f"points.{error.index}.key") from None


def _from_columns(metrics: dict[str, msgspec.Raw]) -> Points:
    points = Points(list(metrics), [], [], [], [])
    for number, (key, raw) in enumerate(metrics.items(), start=1):
        columns = _columns(key, raw)
        points.key_numbers.extend([number] * len(columns.steps))
        points.steps.extend(columns.steps)
        points.timestamps_ms.extend(columns.timestamps_ms)
        points.values.extend(_floats(columns.values))
    _check_number(len(points), "metrics")
    return points


def _columns(key: str, raw: msgspec.Raw) -> SentColumns:
    """Each metric on its own, because msgspec's errors do not tell the keys of an object."""
    place = f"metrics.{key}"
    if not is_key(key):
        raise InvalidInput(invalid_key(), attr=place)
    try:
        columns = _COLUMNS_DECODER.decode(raw)
    except msgspec.ValidationError as error:
        raise invalid(error, below=place) from None
    for name in ("values", "timestamps_ms"):
        count = len(getattr(columns, name))
        if count != len(columns.steps):
            raise InvalidInput(
                _("There must be as many %(name)s as steps: %(steps)d, not %(count)d.")
                % {"name": name, "steps": len(columns.steps), "count": count},
                attr=f"{place}.{name}",
            )
    if not columns.steps:
        raise InvalidInput(_("A metric must have points."), attr=f"{place}.steps")
    _check_times(columns.timestamps_ms, f"{place}.timestamps_ms")
    return columns


def _check_number(count: int, attr: str) -> None:
    if not 1 <= count <= MAX_POINTS:
        raise InvalidInput(
            _("A request must have 1 to %(limit)s points; this one has %(count)s.")
            % {"limit": f"{MAX_POINTS:,}", "count": f"{count:,}"},
            attr=attr,
        )


def _check_times(timestamps_ms: list[int], within: str, field: str = "") -> None:
    """Raises InvalidInput, which names the first point whose time is out of range."""
    if is_time(min(timestamps_ms)) and is_time(max(timestamps_ms)):
        return
    index = next(number for number, at in enumerate(timestamps_ms) if not is_time(at))
    raise InvalidInput(YEAR_RANGE, attr=f"{within}.{index}{field}")


def _floats(values: list[float | NonFinite]) -> list[float]:
    return list(map(float, values))
