"""Converts msgspec validation errors to the API's error shape."""

from __future__ import annotations

import re

import msgspec

from core.exceptions import InvalidInput

_PLACE = re.compile(r"(?P<reason>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.S)


def invalid(error: msgspec.ValidationError, *, below: str = "") -> InvalidInput:
    """Turn ``Expected `str`, got `int` - at `$.lines[3].message``` into an InvalidInput whose attr
    has the notation of drf-standardized-errors: lines.3.message. ``below``: the attr of what was
    decoded, if it is part of the request."""
    match = _PLACE.fullmatch(str(error))
    assert match is not None
    path = (match["path"] or "").replace("[", ".").replace("]", "")
    return InvalidInput(match["reason"], attr=".".join(filter(None, (below, path))) or None)
