"""What is wrong with a body, in the reader's language, by the field at fault."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import pytest
from django.utils import translation
from msgspec import Meta

from core.exceptions import InvalidInput
from core.msgspec_errors import invalid


class Level(StrEnum):
    INFO = "INFO"


class Line(msgspec.Struct, forbid_unknown_fields=True):
    message: Annotated[str, Meta(max_length=3, pattern=r"\A[^\x00]*\Z")]
    rank: Annotated[int, Meta(ge=0)] = 0
    loss: float = 0
    level: Level = Level.INFO
    at: Annotated[datetime, Meta(tz=True)] | None = None


class Lines(msgspec.Struct):
    lines: Annotated[list[Line], Meta(min_length=1)]


def refused(body: Any) -> InvalidInput:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(msgspec.json.encode(body), type=Lines)
    return invalid(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "detail"),
    [
        ("message", 1, "应为 `str`，而不是 `int`。"),
        ("message", "long", "`str` 的长度须 <= 3。"),
        ("message", "\0", "含有不允许的字符。"),
        ("rank", -1, "`int` 须 >= 0。"),
        ("loss", msgspec.Raw(b"1e999"), "数值过大。"),
        ("level", "X", "'X' 不是可用的值。"),
        ("at", "x", "不是 RFC 3339 格式的时间，例如 2026-01-05T08:00:00Z。"),
        ("at", "2026-01-05T08:00:00", "时间需要带时区：Z 或类似 +08:00 的偏移。"),
        ("foo", 1, "未知字段：foo。"),
    ],
)
def test_a_bad_value_is_described_in_chinese(field: str, value: Any, detail: str) -> None:
    error = refused({"lines": [{"message": "", field: value}]})
    assert (error.attr, str(error.message)) == (f"lines.0.{field}", detail)


def test_a_bad_value_is_described_in_english() -> None:
    with translation.override("en"):
        assert str(refused({"lines": []}).message) == "Expected `array` of length >= 1."


def test_a_missing_field_is_named_as_by_every_other_endpoint() -> None:
    error = refused({"lines": [{}]})
    assert (error.code, error.attr) == ("required", "lines.0.message")
    assert str(error.message) == "该字段是必填项。"
    assert refused({}).attr == "lines"
