"""Since when a run has not been heard of, and since when it has not advanced."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.utils import timezone

from runs.status import RunStatus


def is_at_work(status: str, recipe: str | None, attempt_started_at: datetime | None) -> bool:
    """Whether the run's training should report: an unmanaged one, or one that has been started."""
    return status == RunStatus.RUNNING and (recipe is None or attempt_started_at is not None)


def silent_since(
    reported_at: datetime | None, attempt_started_at: datetime | None
) -> datetime | None:
    """When a run at work last reported, if that is more than SILENT_SECONDS ago; else None. What
    an earlier attempt has reported does not count."""
    return _if_long_ago(latest(reported_at, attempt_started_at))


def no_step_since(
    stepped_at: datetime | None, attempt_started_at: datetime | None
) -> datetime | None:
    """When the step of a run at work last rose, if that is more than SILENT_SECONDS ago; else
    None, also if it never has: not every script reports steps."""
    return None if stepped_at is None else _if_long_ago(latest(stepped_at, attempt_started_at))


def latest(*times: datetime | None) -> datetime | None:
    return max((time for time in times if time is not None), default=None)


def _if_long_ago(time: datetime | None) -> datetime | None:
    if time is None:
        return None
    is_long_ago = (timezone.now() - time).total_seconds() > settings.SILENT_SECONDS
    return time if is_long_ago else None
