"""JSON columns whose numbers can always be serialized again."""

import json
import re
from typing import Any, Final

import orjson
from django.db import models


class JSONField(models.JSONField):
    """Django's JSONField, except that integers wider than 64 bits are read as floats.

    jsonb stores the float 1e25 as the integer 10000000000000000000000000. orjson cannot serialize
    that integer, and browsers would round it anyway.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["decoder"] = Decoder
        super().__init__(*args, **kwargs)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """Of text, which psycopg leaves as it is for Django; keys and elements come as values."""
        return loads(value) if isinstance(value, str) else value

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        del kwargs["decoder"]
        return name, "django.db.models.JSONField", args, kwargs  # the column is the same


class Decoder(json.JSONDecoder):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "parse_int": integer_or_float})


def integer_or_float(digits: str) -> int | float:
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else float(number)


_LONG_NUMBER: Final = re.compile("[0-9]{19}")


def loads(text: str) -> Any:
    """Parse JSON text from the database, with numbers as in JSONField. Uses orjson if it can."""
    if _LONG_NUMBER.search(text) is None:
        return orjson.loads(text)
    return json.loads(text, cls=Decoder)


def rewritten(text: str) -> str | bytes:
    """JSON text from the database with numbers as in JSONField; nearly always unchanged."""
    if _LONG_NUMBER.search(text) is None:
        return text
    return orjson.dumps(json.loads(text, cls=Decoder))
