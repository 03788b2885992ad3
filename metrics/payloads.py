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
    metrics: dict[str, SentColumns] | UnsetType = UNSET


class _ByKey(msgspec.Struct):
    metrics: dict[str, msgspec.Raw] = {}  # of SentColumns


_DECODER: Final = msgspec.json.Decoder(SentPoints)
_BY_KEY_DECODER: Final = msgspec.json.Decoder(_ByKey)
_COLUMNS_DECODER: Final = msgspec.json.Decoder(SentColumns)


def read(body: bytes) -> Points:
    """The points of a request body. Raises InvalidInput, which names the bad point."""
    try:
        sent = _DECODER.decode(body)
    except msgspec.ValidationError as error:
        if "$.metrics[...]" in str(error):
            _decode_by_key(body)
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


def _decode_by_key(body: bytes) -> None:
    """Raises InvalidInput, which names the key: msgspec's errors do not tell those of an object."""
    for key, raw in _BY_KEY_DECODER.decode(body).metrics.items():
        try:
            _COLUMNS_DECODER.decode(raw)
        except msgspec.ValidationError as error:
            raise invalid(error, below=_place(key)) from None


def _from_columns(metrics: dict[str, SentColumns]) -> Points:
    key_numbers: list[int] = []
    steps: list[int] = []
    timestamps_ms: list[int] = []
    values: list[float | NonFinite] = []
    for number, (key, columns) in enumerate(metrics.items(), start=1):
        count = len(columns.steps)
        if not (is_key(key) and 0 < count == len(columns.values) == len(columns.timestamps_ms)):
            raise _mismatch(key, columns)
        key_numbers += [number] * count
        steps += columns.steps
        timestamps_ms += columns.timestamps_ms
        values += columns.values
    _check_number(len(steps), "metrics")
    if not _are_times(timestamps_ms):
        for key, columns in metrics.items():
            _check_times(columns.timestamps_ms, f"{_place(key)}.timestamps_ms")
    return Points(list(metrics), key_numbers, steps, timestamps_ms, _floats(values))


def _mismatch(key: str, columns: SentColumns) -> InvalidInput:
    if not is_key(key):
        return InvalidInput(invalid_key(), attr=_place(key))
    if not columns.steps:
        return InvalidInput(_("A metric must have points."), attr=f"{_place(key)}.steps")
    steps = len(columns.steps)
    name, count = next(
        (name, count)
        for name in ("values", "timestamps_ms")
        if (count := len(getattr(columns, name))) != steps
    )
    return InvalidInput(
        _("There must be as many %(name)s as steps: %(steps)d, not %(count)d.")
        % {"name": name, "steps": steps, "count": count},
        attr=f"{_place(key)}.{name}",
    )


def _place(key: str) -> str:
    return f"metrics.{key}"


def _check_number(count: int, attr: str) -> None:
    if not 1 <= count <= MAX_POINTS:
        raise InvalidInput(
            _("A request must have 1 to %(limit)s points; this one has %(count)s.")
            % {"limit": f"{MAX_POINTS:,}", "count": f"{count:,}"},
            attr=attr,
        )


def _check_times(timestamps_ms: list[int], within: str, field: str = "") -> None:
    """Raises InvalidInput, which names the first point whose time is out of range."""
    if _are_times(timestamps_ms):
        return
    index = next(number for number, at in enumerate(timestamps_ms) if not is_time(at))
    raise InvalidInput(YEAR_RANGE, attr=f"{within}.{index}{field}")


def _are_times(timestamps_ms: list[int]) -> bool:
    return is_time(min(timestamps_ms)) and is_time(max(timestamps_ms))


def _floats(values: list[float | NonFinite]) -> list[float]:
    return list(map(float, values))
