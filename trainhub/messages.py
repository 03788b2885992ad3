"""Typed messages (msgspec) in the API: what is wrong with one, in the API's one error shape."""

from __future__ import annotations

import re

import msgspec

from trainhub.exceptions import InvalidInput

_PLACE = re.compile(r"(?P<reason>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.S)


def invalid(error: msgspec.ValidationError) -> InvalidInput:
    """``Expected `str`, got `int` - at `$.lines[3].message``` with its place as drf-standardized-
    errors names places: lines.3.message."""
    match = _PLACE.fullmatch(str(error))
    assert match is not None
    path = (match["path"] or "").replace("[", ".").replace("]", "")
    return InvalidInput(match["reason"], attr=path or None)
