"""Template tags for where time went."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from django import template
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from dashboard.templatetags.cluster_pages import hours
from dashboard.templatetags.run_pages import roughly
from goodput.parts import Part
from goodput.report_queries import Grouping
from goodput.reports import Group, Report

register = template.Library()

# The color of each part: what is kept is green, what is lost red.
SERIES: Final = {
    Part.TRAINING: 5,
    Part.REPEATED: 4,
    Part.SAVING: 3,
    Part.EVALUATING: 1,
    Part.STARTING: 6,
    Part.STALLED: 2,
    Part.STOPPING: 8,
    Part.DOWN: 7,
    Part.WAITING: 10,
}
WIDTH: Final = 10_000


@register.simple_tag
def parts_bar(weights: Mapping[Part, int]) -> SafeString:
    """A bar of the parts, as wide as their shares. What it shows is next to it as text, so it is
    hidden from screen readers."""
    total, begins, rectangles = sum(weights.values()), 0, []
    for part in Part:
        weight = weights.get(part, 0)
        if not weight:
            continue
        ends = begins + weight
        left, right = (WIDTH * at // total for at in (begins, ends))
        title = f"{part.label} · {100 * weight / total:.1f} %"
        rectangles.append((left, max(1, right - left), SERIES[part], title))
        begins = ends
    return format_html(
        '<svg class="pool-bar parts-bar" viewBox="0 0 {} 1" preserveAspectRatio="none"'
        ' aria-hidden="true">{}</svg>',
        WIDTH,
        format_html_join(
            "",
            '<rect x="{}" y="0" width="{}" height="1" class="series-{}"><title>{}</title></rect>',
            rectangles,
        ),
    )


@register.simple_tag
def part_name(part: Part) -> SafeString:
    """Its color and name."""
    return format_html(
        '<span class="part"><span class="dot series-{}" aria-hidden="true"></span> {}</span>',
        SERIES[part],
        part.label,
    )


@register.simple_tag
def part_of(group: Group, part: Part) -> str:
    """GPU-hours; of runs without GPUs, hours. Nothing is a dash."""
    time = group.gpu_hours_of(part) if group.has_gpus else group.seconds(part) / 3600
    return hours(time) if time else "–"


@register.simple_tag
def group_name(report: Report, group: Group) -> SafeString | str:
    """What the group is, with a link to it where there is one."""
    text = group.name or (_("nobody") if report.by is Grouping.USER else "–")
    if report.by is Grouping.PROJECT and group.name:
        address = reverse("dashboard:project", args=[group.key])
        return format_html('<a href="{}">{}</a>', address, text)
    if report.by is Grouping.RUN and group.project_id:
        address = reverse("dashboard:run-events", args=[group.project_id, group.key])
        return format_html('<a href="{}">{}</a>', address, text)
    return text


@register.filter
def as_seconds(microseconds: int) -> str:
    return _("%(n)s s") % {"n": f"{microseconds / 1_000_000:,.3f}"}


@register.filter
def rough_time(microseconds: int) -> str:
    """A time in its one or two largest units; nothing is a dash."""
    return roughly(timedelta(microseconds=microseconds)) if microseconds else "–"
