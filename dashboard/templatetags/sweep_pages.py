"""Template tags for sweeps."""

from __future__ import annotations

from typing import Any, Final

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from core.templatetags.pages import as_json, badge, number
from dashboard.sweep_page import HEIGHT, WIDTH, History
from sweeps.models import Sweep, SweepStatus, SweepTrial, TrialState

register = template.Library()

# Colors of states: those of the statuses of runs.
_SLUGS: Final = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "completed",
    TrialState.PRUNED: "cancelled",
    TrialState.FAILED: "failed",
}


@register.simple_tag
def sweep_badge(sweep: Sweep) -> SafeString:
    return badge(SweepStatus(sweep.status))


@register.simple_tag
def trial_badge(trial: SweepTrial) -> SafeString:
    state = TrialState(trial.state)
    return format_html('<span class="badge badge-{}">{}</span>', _SLUGS[state], state.label)


@register.simple_tag
def param(trial: SweepTrial, name: str) -> str:
    value: Any = trial.params.get(name)
    return number(value) if isinstance(value, float) else as_json(value)


@register.simple_tag
def history_picture(history: History, sweep: Sweep) -> SafeString:
    """What it shows is in the table, too."""
    label = _("Values of %(metric)s by trial, and the best one so far") % {"metric": sweep.metric}
    dots = format_html_join(
        "",
        '<circle class="{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>',
        (
            (
                f"series-{1 if dot.state == TrialState.COMPLETE else 10}",
                f"{dot.x:.1f}",
                f"{dot.y:.1f}",
                2 if dot.is_beyond else 3,
                f"#{dot.number} · {number(dot.value)} · {TrialState(dot.state).label}",
            )
            for dot in history.dots
        ),
    )
    return format_html(
        '<svg class="sweep-history" viewBox="0 0 {w} {h}" role="img" aria-label="{label}">'
        '<path class="series-5" d="{best}"/>{dots}</svg>',
        w=WIDTH,
        h=HEIGHT,
        label=label,
        best=history.best,
        dots=dots,
    )
