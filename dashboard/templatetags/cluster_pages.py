"""Template tags for GPU pools, and rough durations."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from core.templatetags.pages import NOTHING
from dashboard.cluster_status import PoolRow

register = template.Library()

SERIES: Final = 10  # colors: see static/css/tokens.css


@register.simple_tag
def pool_bar(row: PoolRow) -> SafeString:
    """A bar as wide as the pool: the GPUs of each run that holds some, in a color by person, then
    the free ones. What it shows is next to it as text, so it is hidden from screen readers."""
    colors = {name: number % SERIES + 1 for number, (name, _count) in enumerate(row.people)}
    parts: list[tuple[Any, ...]] = [
        (
            begins,
            run.gpu_count,
            colors[run.created_by.get_username() if run.created_by else ""],
            f"{run.name} · {run.gpu_count}",
        )
        for begins, run in row.segments
    ]
    held = format_html_join(
        "",
        '<rect x="{}" y="0" width="{}" height="1" class="series-{}"><title>{}</title></rect>',
        parts,
    )
    return format_html(
        '<svg class="pool-bar" viewBox="0 0 {} 1" preserveAspectRatio="none" aria-hidden="true">'
        "{}</svg>",
        row.width,
        held,
    )


@register.filter
def rough(value: timedelta | None) -> str:
    """An estimate in its two largest units: 2 d 3 h, 1 h 20 min, 3 min, 40 s."""
    if value is None:
        return NOTHING
    seconds = max(0, round(value.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if days:
        return _("%(days)d d %(hours)d h") % {"days": days, "hours": hours % 24}
    if hours:
        return _("%(hours)d h %(minutes)d min") % {"hours": hours, "minutes": minutes % 60}
    if minutes:
        return _("%(minutes)d min") % {"minutes": minutes}
    return _("%(seconds)d s") % {"seconds": seconds}


@register.filter
def hours(value: float) -> str:
    """A number of hours to one decimal place."""
    return f"{value:,.1f}"
