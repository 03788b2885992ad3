"""Says what is wrong with a request in MLflow's own words, by the field at fault."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec
from django.utils.translation import gettext as _

from core.msgspec_errors import in_our_words
from tracking.errors import InvalidParameter

_MISSING: Final = re.compile(r"Object missing required field `(?P<name>.*?)`", re.S)
_PLACE: Final = re.compile(r"(?P<reason>.*?)(?: - at `\$(?P<path>.*)`)?", re.S)
_STEP: Final = re.compile(r"\.?([^.\[\]]+)")
MAX_SHOWN: Final = 200  # characters of a value


def missing(name: str) -> InvalidParameter:
    return InvalidParameter(_("Missing value for required parameter '%(name)s'.") % {"name": name})


def malformed(error: msgspec.ValidationError, sent: bytes | dict[str, Any]) -> InvalidParameter:
    """The error of a request whose body or query, ``sent``, does not fit its message. Turns
    msgspec's ``Expected `str`, got `int` - at `$.metrics[1].key``` into the name and the value."""
    match = _PLACE.fullmatch(str(error))
    assert match is not None
    path = (match["path"] or "").removeprefix(".")
    absent = _MISSING.fullmatch(match["reason"])
    if absent is not None:
        return missing(f"{path}.{absent['name']}".removeprefix("."))
    reason = in_our_words(match["reason"])
    if not path:
        return InvalidParameter(_("The request is malformed: %(reason)s") % {"reason": reason})
    value = _value_at(_decoded(sent), path)
    if value is None:
        return missing(path)
    return InvalidParameter(
        _("Invalid value %(value)s for parameter '%(name)s' supplied: %(reason)s")
        % {"value": _shown(value), "name": path, "reason": reason}
    )


def _decoded(sent: bytes | dict[str, Any]) -> Any:
    try:
        return json.loads(sent) if isinstance(sent, bytes) else sent
    except (ValueError, RecursionError):  # of a number or a depth that msgspec has not read
        return ...


def _value_at(body: Any, path: str) -> Any:
    """``path``: as in ``metrics[1].key``."""
    for step in _STEP.findall(path):
        if isinstance(body, list) and step.isdecimal():
            body = body[int(step)]
        elif isinstance(body, dict):
            body = body.get(step)
        else:  # msgspec writes […] for the values of an object
            return ...
    return body


def _shown(value: Any) -> str:
    if value is ...:
        return "…"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
