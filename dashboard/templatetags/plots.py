"""Pictures drawn on the server, as inline SVG: they need no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from metrics.sparklines import Column

register = template.Library()

WIDTH: Final = 96  # pixels
HEIGHT: Final = 22
MARGIN: Final = 1.5  # so that no stroke is cut off


@register.simple_tag
def sparkline(values: Sequence[Column | float | None] | None, label: str = "") -> SafeString | str:
    """The course of a metric: ``values`` are columns of metrics.sparklines, or numbers. Extremes
    are drawn as strokes, so that a spike is seen. Nothing for fewer than two finite values.

    ``label``: what screen readers say; without it the picture is hidden from them.
    """
    columns = [_column(value) for value in values or ()]
    drawn = [column for column in columns if column is not None]
    if len(drawn) < 2:
        return ""
    low = min(column.minimum for column in drawn)
    high = max(column.maximum for column in drawn)
    across = (WIDTH - 2 * MARGIN) / (len(columns) - 1)

    def y(value: float) -> str:
        share = (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5
        return f"{HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN):.1f}"

    line: list[str] = []
    strokes: list[str] = []
    command = "M"
    for place, column in enumerate(columns):
        if column is None:
            command = "M"
            continue
        x = f"{MARGIN + place * across:.1f}"
        line.append(f"{command}{x} {y(column.last)}")
        command = "L"
        top, bottom = y(column.maximum), y(column.minimum)
        if top != bottom:
            strokes.append(f"M{x} {top}V{bottom}")
    named = format_html('role="img" aria-label="{}"', label) if label else 'aria-hidden="true"'
    return format_html(
        '<svg class="spark" viewBox="0 0 {w} {h}" width="{w}" height="{h}" {named}>'
        '<path d="{path}"/></svg>',
        w=WIDTH,
        h=HEIGHT,
        named=SafeString(named),  # nosec B703  made by format_html
        path="".join([*strokes, *line]),
    )


def _column(value: Column | float | None) -> Column | None:
    if isinstance(value, Column):
        return value
    if value is None or not math.isfinite(value):
        return None
    return Column(value, value, value)
