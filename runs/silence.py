"""When an unmanaged run counts as silent."""

from datetime import datetime

from django.conf import settings
from django.utils import timezone

from runs.status import RunStatus


def silent_since(recipe: str | None, status: str, reported_at: datetime | None) -> datetime | None:
    """When it last reported, if that is more than UNMANAGED_SILENT_SECONDS ago; else None.

    ``recipe``: its name; None makes a run an unmanaged one.
    """
    if recipe is not None or status != RunStatus.RUNNING or reported_at is None:
        return None
    silence = timezone.now() - reported_at
    return reported_at if silence.total_seconds() > settings.UNMANAGED_SILENT_SECONDS else None
