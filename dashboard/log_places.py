"""Places in a log as addresses name them: a line, a step, a time, the last error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from django.http import QueryDict
from django.utils.translation import gettext as _

from core.exceptions import InvalidInput
from core.numbers import MAX_BIGINT
from core.times import EPOCH, MILLISECOND, is_time, milliseconds
from dashboard.forms.logs import known_zone
from logs.positions import last_error, line_at
from metrics.pace_queries import time_of_step
from runs.models import Run

PARAMETERS: Final = ("at_line", "at_step", "at_ms", "at_error", "at")
_NUMBER: Final = re.compile(r"\d{1,19}", re.ASCII)
_STEP: Final = re.compile(r"(?:step|步)?\s*(\d{1,19})\s*步?", re.IGNORECASE | re.ASCII)
MAX_LENGTH: Final = 100


@dataclass(frozen=True, slots=True)
class Place:
    """``line``: its number; 0 in an empty log."""

    line: int


class NoSuchPlace(InvalidInput):
    code = "no_such_place"


def place_of(run: Run, query: QueryDict) -> Place | None:
    """The place that the query names: ``at_line``, ``at_step``, ``at_ms`` (Unix milliseconds),
    ``at_error``, or ``at``, what a person has typed: a step, or a time in the zone ``zone``. None
    if it names none.

    Raises NoSuchPlace, logs.search.SearchTooSlow.
    """
    name = next((name for name in PARAMETERS if query.get(name)), None)
    if name is None:
        return None
    text = query.get(name, "").strip()
    if name == "at_line":
        return Place(min(max(1, _number(text)), run.log_count))
    if name == "at_step":
        return _at_step(run, _number(text))
    if name == "at_ms":
        return _at_ms(run, _number(text))
    if name == "at_error":
        line = last_error(run)
        if line is None:
            raise NoSuchPlace(_("The log has no line of the level ERROR or CRITICAL."))
        return Place(line)
    return _typed(run, text, known_zone(query.get("zone", "")))


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > MAX_BIGINT:
        raise NoSuchPlace(_("Not a whole number: %(text)s") % {"text": text[:MAX_LENGTH]})
    return int(text)


def _at_step(run: Run, step: int) -> Place:
    ms = time_of_step(run.pk, step)
    if ms is None:
        raise NoSuchPlace(
            _("The run has reported no metric at step %(step)d or later.") % {"step": step}
        )
    return _at_ms(run, ms)


def _at_ms(run: Run, ms: int) -> Place:
    if not is_time(ms):
        raise NoSuchPlace(_("Not a time: %(text)s") % {"text": ms})
    return Place(line_at(run, EPOCH + MILLISECOND * ms))


def _typed(run: Run, text: str, zone: ZoneInfo) -> Place:
    if match := _STEP.fullmatch(text):
        return _at_step(run, _number(match[1]))
    try:
        time = datetime.fromisoformat(text.replace("/", "-"))
        ms = milliseconds(time if time.tzinfo else time.replace(tzinfo=zone))
    except (ValueError, OverflowError):
        raise NoSuchPlace(
            _("Neither a step nor a time such as 2026-11-29 20:15: %(text)s")
            % {"text": text[:MAX_LENGTH]}
        ) from None
    return _at_ms(run, ms)
