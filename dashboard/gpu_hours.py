"""Where the GPU-hours of the last days have gone: by project and person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.contrib.auth.models import User
from django.utils import timezone

from projects.models import Project
from projects.sight import Sight
from runs.gpu_hour_queries import gpu_seconds

RECENT: Final = timedelta(days=7)
ALL: Final = timedelta(days=30)
ROWS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class GpuHours:
    project: Project
    person: User | None  # who has created the runs
    recent: float  # hours, of the last 7 days
    all: float  # hours, of the last 30


def gpu_hours(sight: Sight) -> list[GpuHours]:
    """The largest visible sums of the last 30 days, largest first."""
    now = timezone.now()
    rows = gpu_seconds(since=now - ALL, recent=now - RECENT, now=now, sight=sight, limit=ROWS_SHOWN)
    projects = Project.objects.in_bulk([row.project_id for row in rows])
    people = User.objects.in_bulk([row.user_id for row in rows if row.user_id is not None])
    return [
        GpuHours(
            projects[row.project_id],
            people.get(row.user_id) if row.user_id is not None else None,
            row.recent / 3600,
            row.all / 3600,
        )
        for row in rows
    ]
