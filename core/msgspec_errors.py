"""Converts msgspec validation errors to the API's error shape."""

from __future__ import annotations

import re

import msgspec
from django.utils.translation import gettext as _

from core.exceptions import InvalidInput

_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.S)
_PLACE = re.compile(r"(?P<reason>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.S)


def invalid(error: msgspec.ValidationError, *, below: str = "") -> InvalidInput:
    """Turn ``Expected `str`, got `int` - at `$.lines[3].message``` into an InvalidInput whose attr
    has the notation of drf-standardized-errors: lines.3.message. ``below``: the attr of what was
    decoded, if it is part of the request."""
    match = _PLACE.fullmatch(str(error))
    assert match is not None
    path = (match["path"] or "").replace("[", ".").replace("]", "")
    place = ".".join(filter(None, (below, path)))
    unknown = _UNKNOWN.fullmatch(match["reason"])
    if unknown is not None:
        text = _("Unknown field: %(name)s.") % {"name": unknown["name"]}
        return InvalidInput(text, attr=f"{place}.{unknown['name']}".removeprefix("."))
    return InvalidInput(match["reason"], attr=place or None)
