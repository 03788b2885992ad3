"""Template tags for runs."""

from datetime import timedelta

from django import template
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from core.markdown import to_html
from core.templatetags.pages import badge, number
from execution.scheduling.explanation import Explanation
from metrics.throughput import Throughput, Unit
from metrics.time_left import TimeLeft
from runs.held_time import elapsed
from runs.models import EventKind, Run, RunEvent
from runs.status import RunStatus

register = template.Library()
register.filter("elapsed", elapsed)


@register.simple_tag
def run_badge(run: Run) -> SafeString:
    return badge(RunStatus(run.status))


@register.filter
def what(event: RunEvent) -> str:
    """What has happened, in a word or two: of a change of the status, the status."""
    if event.kind == EventKind.STATUS:
        return event.get_to_status_display()
    return event.get_kind_display()


@register.simple_tag
def status_badge(status: str) -> SafeString:
    return badge(RunStatus(status))


@register.filter
def grouped(value: int) -> str:
    """A whole number with its thousands apart: 1,200,000."""
    return f"{value:,}"


@register.filter
def roughly(value: timedelta) -> str:
    """A time in its one or two largest units: 40 s, 12 min, 2 h 10 min, 3 d 4 h."""
    seconds = max(0, round(value.total_seconds()))
    if seconds < 60:
        return _("%(n)d s") % {"n": seconds}
    minutes = round(seconds / 60)
    if minutes < 60:
        return _("%(n)d min") % {"n": minutes}
    if minutes < 24 * 60:
        return _("%(h)d h %(m)d min") % {"h": minutes // 60, "m": minutes % 60}
    hours = round(seconds / 3600)
    return _("%(d)d d %(h)d h") % {"d": hours // 24, "h": hours % 24}


@register.filter
def about(left: TimeLeft) -> str:
    """about 2 h 10 min"""
    return _("about %(estimate)s") % {"estimate": roughly(left.estimate)}


@register.filter
def range_of(left: TimeLeft) -> str:
    """1 h 50 min – 2 h 40 min"""
    return f"{roughly(left.low)} – {roughly(left.high)}"


@register.simple_tag
def explanation(why: Explanation) -> str:
    """Why a run waits, and when it will probably start."""
    if why.estimated_start is None:
        return why.reason
    left = max(timedelta(), why.estimated_start - timezone.now())
    return _("%(reason)s It will probably start in %(time)s.") % {
        "reason": why.reason,
        "time": roughly(left),
    }


@register.filter
def has_begun(run: Run) -> bool:
    """Whether a run of the queue waits to go on, such as after its worker died."""
    return run.status == RunStatus.RUNNING


@register.simple_tag
def place_in_queue(why: Explanation) -> str:
    """Number 3 in the queue of A100"""
    if not why.run.pool:
        return _("Number %(n)d in the queue") % {"n": why.position}
    return _("Number %(n)d in the queue of %(pool)s") % {"n": why.position, "pool": why.run.pool}


@register.simple_tag
def time_left(left: TimeLeft) -> str:
    """about 2 h 10 min left (1 h 50 min – 2 h 40 min)"""
    estimate, low, high = (roughly(value) for value in (left.estimate, left.low, left.high))
    if low == high:
        return _("about %(estimate)s left") % {"estimate": estimate}
    return _("about %(estimate)s left (%(low)s – %(high)s)") % {
        "estimate": estimate,
        "low": low,
        "high": high,
    }


@register.simple_tag
def per_second(rate: Throughput) -> str:
    """12,300 tokens/s"""
    value = rate.per_second
    shown = grouped(round(value)) if value >= 1000 else number(value)
    units = {
        Unit.TOKENS: _("%(n)s tokens/s"),
        Unit.SAMPLES: _("%(n)s samples/s"),
        Unit.UNKNOWN: "%(n)s/s",
    }
    return units[rate.unit] % {"n": shown}


@register.filter
def markdown(text: str) -> SafeString:
    return to_html(text)
