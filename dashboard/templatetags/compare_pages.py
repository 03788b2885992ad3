"""Template tags for comparisons of runs."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from core.templatetags.pages import number
from dashboard.comparison.address import Address
from dashboard.comparison.values import MISSING, Delta, text_of
from dashboard.series_colors import color_number

register = template.Library()

MINUS = "\N{MINUS SIGN}"


@register.filter
def series_class(place: int) -> str:
    """The class of the color of the run at that place, counted from 0."""
    return f"series-{color_number(place)}"


@register.simple_tag
def hidden_fields(address: Address, *without: str) -> SafeString:
    """What a form leaves as it is in the address: every parameter but those it sets."""
    return format_html_join(
        "\n", '<input type="hidden" name="{}" value="{}">', address.pairs(*without)
    )


@register.filter
def value_text(value: Any) -> str:
    """A value of a configuration as one line; nothing of one that is missing."""
    return "" if value is MISSING else text_of(value)


@register.filter
def delta_text(delta: Delta | None) -> str:
    """A factor, as ``×10``, or a difference with its sign; nothing without a difference."""
    if delta is None:
        return ""
    if delta.kind == "factor":
        return f"×{number(delta.value)}"
    return _signed(number(delta.value))


@register.filter
def difference_text(delta: Delta | None) -> str:
    """The same with three significant digits, for measured values."""
    return "" if delta is None else _signed(number(float(f"{delta.value:.3g}")))


@register.filter
def share_text(delta: Delta | None) -> str:
    """``+12.3 %``; nothing without a difference, or from zero."""
    if delta is None or delta.share is None:
        return ""
    return f"{_signed(number(float(f'{delta.share * 100:.3g}')))} %"


def _signed(text: str) -> str:
    return MINUS + text[1:] if text.startswith("-") else f"+{text}"
