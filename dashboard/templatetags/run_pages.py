"""Template tags for runs."""

from datetime import timedelta
from typing import Any

from django import template
from django.utils import timezone
from django.utils.safestring import SafeString

from core.templatetags.pages import badge
from metrics.recording import GPU_UTILIZATION
from runs.models import Run
from runs.status import RunStatus
from runs.system_metrics import PREFIX

register = template.Library()


@register.simple_tag
def run_badge(run: Run) -> SafeString:
    return badge(RunStatus(run.status))


@register.simple_tag
def status_badge(status: str) -> SafeString:
    return badge(RunStatus(status))


@register.filter
def elapsed(run: Run) -> timedelta | None:
    """Return the time from the start of the run to its end, or to now if it has not ended."""
    if run.started_at is None:
        return None
    return (run.finished_at or timezone.now()) - run.started_at


@register.filter
def headlines(run: Run, count: int) -> list[tuple[str, Any]]:
    """Return the latest values of up to ``count`` metrics, losses first, from the run's own row;
    none of the host's."""
    keys = sorted(
        (key for key in run.metrics.keys() - {GPU_UTILIZATION} if not key.startswith(PREFIX)),
        key=lambda key: ("loss" not in key, not key.startswith("train"), key),
    )
    return [(key, run.metrics[key]) for key in keys[:count]]
