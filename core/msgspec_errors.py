"""Converts msgspec validation errors to the API's error shape, in the reader's language."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.exceptions import InvalidInput

_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.S)
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`", re.S)
_PLACE = re.compile(r"(?P<reason>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.S)

# What msgspec says, in English only, and our words for it.
_REASONS: Final[tuple[tuple[str, str | Promise], ...]] = (
    (
        "Expected `(?P<wanted>.+)`, got `(?P<got>.+)`",
        gettext_lazy("Expected `%(wanted)s`, got `%(got)s`."),
    ),
    (
        "Expected `(?P<wanted>.+)` of length (?P<bound>[<>]= .+)",
        gettext_lazy("Expected `%(wanted)s` of length %(bound)s."),
    ),
    (
        "Expected `(?P<wanted>.+)` (?P<bound>[<>]=? .+)",
        gettext_lazy("Expected `%(wanted)s` %(bound)s."),
    ),
    (
        "Invalid enum value (?P<value>.+)",
        gettext_lazy("%(value)s is not a value that is known here."),
    ),
    (
        "Invalid RFC3339 encoded datetime",
        gettext_lazy("Not a time of RFC 3339, such as 2026-01-05T08:00:00Z."),
    ),
    (
        "Expected `datetime` with a timezone component",
        gettext_lazy("The time must include a time zone: Z or an offset such as +08:00."),
    ),
    (
        "Expected `str` matching regex .+",
        gettext_lazy("It contains characters that are not allowed."),
    ),
    ("(Integer value|Number) out of range", gettext_lazy("The number is too large.")),
)


class _Missing(InvalidInput):
    code = "required"


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
    missing = _MISSING.fullmatch(match["reason"])
    if missing is not None:
        text = _("This field is required.")
        return _Missing(text, attr=f"{place}.{missing['name']}".removeprefix("."))
    return InvalidInput(in_our_words(match["reason"]), attr=place or None)


def in_our_words(reason: str) -> str:
    """msgspec's ``reason`` as a sentence in the reader's language."""
    for pattern, sentence in _REASONS:
        match = re.fullmatch(pattern, reason, re.S)
        if match is not None:
            return str(sentence) % match.groupdict()
    return reason
