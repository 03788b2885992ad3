"""JSON columns whose numbers every JSON writer can write again."""

import json
from typing import Any

from django.db import models


class JSONField(models.JSONField):
    """Django's own, but a whole number of more than 64 bits is read as a float.

    jsonb keeps the float 1e25 as the integer 10000000000000000000000000. Read as one, orjson could
    not write it, and browsers would round it anyway.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["decoder"] = Decoder
        super().__init__(*args, **kwargs)

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
