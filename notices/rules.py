"""Rules about runs at work: a metric beyond a threshold, a loss that is not finite.

Not checked where points are stored, but by workers, from the last values that each run has.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, Final

from django.db.models import Q
from django.utils import timezone

from notices.happenings import tell_once
from notices.models import Event, Fired, Webhook
from runs.models import Run
from runs.status import RunStatus

LATELY: Final = timedelta(minutes=10)  # runs that have ended between two checks
RULES: Final = (Event.METRIC_BEYOND, Event.RUN_DIVERGED)


def check_rules() -> int:
    """Tell each rule that holds of a run, once; return how many were told."""
    hooks = Webhook.objects.filter(enabled=True, events__overlap=list(RULES))
    return sum(_check(hook) for hook in hooks)


def _check(hook: Webhook) -> int:
    at_work = Q(status=RunStatus.RUNNING) | Q(finished_at__gte=timezone.now() - LATELY)
    runs = Run.objects.kept().filter(at_work).exclude(metrics={})
    if hook.project_id is not None:
        runs = runs.filter(project=hook.project_id)
    fired = Fired.objects.filter(webhook=hook, run__in=runs.values("pk"))
    known = set(fired.values_list("run", "event"))
    told = 0
    for run in runs.select_related("project").only("name", "project__name", "metrics").iterator():
        for event, data in _holding(hook, run):
            if (run.pk, event) not in known:
                told += tell_once(hook, run, event, **data)
    return told


def _holding(hook: Webhook, run: Run) -> list[tuple[Event, dict[str, Any]]]:
    found: list[tuple[Event, dict[str, Any]]] = []
    if Event.METRIC_BEYOND in hook.events and hook.metric in run.metrics:
        value = float(run.metrics[hook.metric])
        if hook.is_beyond(value):
            told = {"metric": hook.metric, "value": str(value), "threshold": hook.threshold}
            found.append((Event.METRIC_BEYOND, told))
    if Event.RUN_DIVERGED in hook.events:
        for key, text in run.metrics.items():
            if "loss" in key.lower() and not math.isfinite(float(text)):
                found.append((Event.RUN_DIVERGED, {"metric": key, "value": str(text)}))
                break
    return found
