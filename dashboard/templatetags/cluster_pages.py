"""Template tags for GPU pools."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from dashboard.cluster_status import Others, PoolRow
from dashboard.series_colors import color_number

register = template.Library()


@register.simple_tag
def pool_bar(row: PoolRow) -> SafeString:
    """A bar as wide as the pool: the GPUs of each run that holds some, in a color by person, those
    of the runs that the reader does not see together, then the free ones. What it shows is next to
    it as text, so it is hidden from screen readers."""
    colors = {name: color_number(number) for number, (name, _count) in enumerate(row.people)}
    parts: list[tuple[Any, ...]] = [
        (
            begins,
            run.gpu_count,
            f"series-{colors[run.created_by.get_username() if run.created_by else '']}",
            f"{run.name} · {run.gpu_count}",
        )
        for begins, run in row.segments
    ]
    if row.others.gpus:
        text = others_text(row.others)
        begins = row.used - row.others.gpus
        parts.append((begins, row.others.gpus, "others", text))
    held = format_html_join(
        "",
        '<rect x="{}" y="0" width="{}" height="1" class="{}"><title>{}</title></rect>',
        parts,
    )
    return format_html(
        '<svg class="pool-bar" viewBox="0 0 {} 1" preserveAspectRatio="none" aria-hidden="true">'
        "{}</svg>",
        row.width,
        held,
    )


@register.filter
def others_text(others: Others) -> str:
    """How many runs the reader does not see, and how many GPUs they hold or wait for."""
    runs = ngettext(
        "%(runs)d run of other projects", "%(runs)d runs of other projects", others.runs
    ) % {"runs": others.runs}
    gpus = ngettext("%(gpus)d GPU", "%(gpus)d GPUs", others.gpus) % {"gpus": others.gpus}
    return _("%(runs)s, %(gpus)s") % {"runs": runs, "gpus": gpus}


@register.filter
def hours(value: float) -> str:
    """A number of hours to one decimal place."""
    return f"{value:,.1f}"
