"""The values of the table as text: a column's numbers with the same digits, and what a cell cannot
hold in its title."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from artifacts.kinds import TagValue
from core.numbers import json_number
from core.templatetags.pages import (
    NOTHING,
    ago,
    as_json,
    badge,
    duration,
    number,
    percent,
    share,
    short_exponent,
)
from core.text import neutral
from dashboard.run_table.columns import ATTRIBUTES, Column, Kind
from dashboard.run_table.query import Row, Spread
from projects.hyperparameters import number_of
from runs.held_time import elapsed, gpu_hours
from runs.models import FailureKind
from runs.status import RunStatus

DIGITS: Final = 4  # significant, of the greatest number of a column
FEWEST_DIGITS: Final = 2  # of the least
MAX_DECIMALS: Final = 6
LARGE: Final = 1e7  # from here on with an exponent
SMALL: Final = 1e-3  # what is chosen and less, too
LONGEST: Final = 1e16  # of whole ones
MOST_DIGITS: Final = 6
EXPONENT: Final = f".{DIGITS - 1}e"
MAX_TEXT: Final = 200  # characters; the title has the rest


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    title: str = ""


def is_numeric(column: Column, rows: Sequence[Row]) -> bool:
    """Whether the column's values are right-aligned numbers."""
    if column.kind is Kind.ATTRIBUTE:
        return ATTRIBUTES[column.key].is_numeric
    if column.kind is Kind.METRIC:
        return True
    if column.kind is not Kind.PARAM:
        return False
    return _numbers([row.values.get(column) for row in rows]) is not None


def _numbers(values: Sequence[Any]) -> list[float | None] | None:
    """What the values denote, None of a missing one; None unless there are some, all numbers."""
    found = [None if value is None else _number(value) for value in values]
    known = sum(value is not None for value in values)
    return found if known and known == sum(value is not None for value in found) else None


def _number(value: Any) -> float | None:
    """None if it is no finite number, or one that a double cannot hold."""
    denoted = number_of(value) if isinstance(value, str) else value
    if isinstance(denoted, bool) or not isinstance(denoted, int | float):
        return None
    return denoted if abs(denoted) <= sys.float_info.max else None


def cells(column: Column, rows: Sequence[Row]) -> list[Cell]:
    """The cells of ``column``, one for each row."""
    if column.kind is Kind.ATTRIBUTE:
        return [ATTRIBUTE_CELLS[column.key](row) for row in rows]
    values = [row.values.get(column) for row in rows]
    if column.kind is Kind.METRIC:
        texts = aligned(values)
        return [Cell(text, _exact(value)) for text, value in zip(texts, values, strict=True)]
    numbers = _numbers(values) if column.kind is Kind.PARAM else None
    if numbers is not None:
        return [
            Cell(text, "" if value is None or text == as_json(value) else as_json(value))
            for text, value in zip(given(numbers), values, strict=True)
        ]
    return [_text_cell(NOTHING if value is None else as_json(value)) for value in values]


# --- numbers ---------------------------------------------------------------------------------


def aligned(values: Sequence[float | None]) -> list[str]:
    """The numbers with as many decimals as show four digits of the greatest and two of the least;
    all with an exponent if they are too far apart for that."""
    form = _form(values)
    return [_text(value, form) for value in values]


def _form(values: Sequence[float | None]) -> str:
    """The format of all ``values``."""
    finite = [value for value in values if value is not None and math.isfinite(value)]
    sizes = [abs(value) for value in finite if value]
    if not sizes:
        return ".0f"
    if max(sizes) >= LARGE:
        return EXPONENT
    if all(value == int(value) for value in finite):
        return ".0f"
    decimals = max(_decimals(max(sizes), DIGITS), _decimals(min(sizes), FEWEST_DIGITS), 0)
    return EXPONENT if decimals > MAX_DECIMALS else f".{decimals}f"


def given(values: Sequence[float | None]) -> list[str]:
    """Numbers that people have chosen, with all of their digits: whole ones as they are, others
    with the decimals of the longest, or all with an exponent if some are very small or large."""
    numbers = [value for value in values if value is not None]
    sizes = [abs(value) for value in numbers if value]
    if not sizes or (max(sizes) < LONGEST and all(value == int(value) for value in numbers)):
        return [NOTHING if value is None else str(int(value)) for value in values]
    decimals = [Decimal(repr(float(value))).normalize() for value in numbers if value]
    if min(sizes) < SMALL or max(sizes) >= LARGE:
        digits = max(len(number.as_tuple().digits) for number in decimals)
        form = f".{min(digits, MOST_DIGITS) - 1}e"
    else:
        places = max(-int(number.as_tuple().exponent) for number in decimals)
        form = f".{min(max(places, 0), MAX_DECIMALS)}f"
    return [_text(value, form) for value in values]


def _decimals(size: float, digits: int) -> int:
    return digits - 1 - math.floor(math.log10(size))


def _text(value: float | None, form: str) -> str:
    if value is None or not math.isfinite(value):
        return NOTHING if value is None else str(json_number(value))
    return short_exponent(format(value, form)) if value else "0"


def _exact(value: float | None) -> str:
    return "" if value is None else str(json_number(value))


def spreads(values: Sequence[Spread]) -> list[Cell]:
    """Mean ± deviation; least and greatest in the title."""
    form = _form([part for value in values for part in (value.mean, value.deviation)])
    return [_spread(value, form) for value in values]


def _spread(value: Spread, form: str) -> Cell:
    if value.mean is None:
        return Cell(NOTHING)
    text = _text(value.mean, form)
    if value.deviation is not None:
        text = f"{text} ± {_text(value.deviation, form)}"
    title = _("min %(least)s, max %(greatest)s") % {
        "least": number(value.least),
        "greatest": number(value.greatest),
    }
    return Cell(text, title)


# --- attributes ------------------------------------------------------------------------------


def _text_cell(text: str) -> Cell:
    return Cell(text, "") if len(text) <= MAX_TEXT else Cell(text[:MAX_TEXT] + "…", text)


def _status(row: Row) -> Cell:
    run = row.run
    reason = str(run.status_reason)
    if silent := run.silent_since:
        text = format_html(
            '<span class="badge badge-silent">{} {}</span>', _("Silent:"), ago(silent)
        )
        return Cell(text, _("It runs but has reported nothing since then."))
    shown = badge(RunStatus(run.status))
    if run.is_stopping:
        shown = format_html("{} <small>{}</small>", shown, _("stopping"))
    elif run.failure_kind:
        label = FailureKind(run.failure_kind).label
        shown = format_html("{} <small>{}</small>", shown, label)
    return Cell(shown, reason)


def _progress(row: Row) -> Cell:
    run = row.run
    if run.is_unmanaged and not run.progress:
        return Cell(NOTHING)
    bar = format_html(
        '<span class="bar"><progress value="{}" aria-label="{}"></progress><span>{}</span></span>',
        share(run.progress),
        _("Progress"),
        percent(run.progress),
    )
    return Cell(bar)


def _checkpoint_tags(row: Row) -> Cell:
    tags = [badge(TagValue(value)) for value in row.checkpoint_tags]
    return Cell(SafeString(" ".join(tags)) if tags else NOTHING)  # nosec B703  badges are HTML


def _gpu_hours(row: Row) -> Cell:
    hours = gpu_hours(row.run, timezone.now())
    return Cell(number(hours) if hours else NOTHING)


def _steps(row: Row) -> Cell:
    total = row.run.total_steps
    title = "" if total is None else _("of %(total)d") % {"total": total}
    return Cell(str(row.run.step), title)


def _plain(name: str) -> Any:
    return lambda row: _text_cell(str(getattr(row.run, name) or NOTHING))


ATTRIBUTE_CELLS: Final[dict[str, Any]] = {
    "name": lambda row: Cell(row.run.name),
    "status": _status,
    "progress": _progress,
    "step": _steps,
    "started": lambda row: Cell(ago(row.run.started_at)),
    "created": lambda row: Cell(ago(row.run.created_at)),
    "duration": lambda row: Cell(duration(elapsed(row.run))),
    "gpus": lambda row: Cell(str(row.run.gpu_count), row.run.gpu_type),
    "gpu_hours": _gpu_hours,
    "who": lambda row: _text_cell(row.who or NOTHING),
    "checkpoint_tags": _checkpoint_tags,
    "model": _plain("model"),
    "dataset": _plain("dataset"),
    "recipe": _plain("recipe_id"),
    "priority": lambda row: Cell(str(row.run.priority)),
}


EXPORTED: Final[dict[str, Any]] = {
    "name": lambda row: row.run.name,
    "status": lambda row: row.run.status,
    "progress": lambda row: row.run.progress,
    "step": lambda row: row.run.step,
    "started": lambda row: _iso(row.run.started_at),
    "created": lambda row: _iso(row.run.created_at),
    "duration": lambda row: None if (time := elapsed(row.run)) is None else time.total_seconds(),
    "gpus": lambda row: row.run.gpu_count,
    "gpu_hours": lambda row: gpu_hours(row.run, timezone.now()),
    "who": lambda row: row.who,
    "checkpoint_tags": lambda row: " ".join(row.checkpoint_tags),
    "model": lambda row: row.run.model,
    "dataset": lambda row: row.run.dataset,
    "recipe": lambda row: row.run.recipe_id,
    "priority": lambda row: row.run.priority,
}


def export_value(column: Column, row: Row) -> Any:
    """The value as a CSV file has it: exact, in seconds, shares of 1 and UTC; None without one."""
    exported = EXPORTED.get(column.key) if column.kind is Kind.ATTRIBUTE else None
    value = row.values.get(column) if exported is None else exported(row)
    if isinstance(value, float):
        return json_number(value)
    if isinstance(value, str):
        return neutral(value)
    return value if value is None or isinstance(value, int) else neutral(as_json(value))


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat()


# --- names -----------------------------------------------------------------------------------

CUT_FROM: Final = 28  # characters
KEPT_END: Final = 10


def halves(name: str) -> tuple[str, str]:
    """A name in two parts: if there is no room, the end of the first is cut. Names of a sweep begin
    alike and differ in their ends."""
    return (name, "") if len(name) < CUT_FROM else (name[:-KEPT_END], name[-KEPT_END:])
