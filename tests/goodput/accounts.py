"""Rows of accounts as workers write them, made directly."""

from datetime import date, timedelta

from django.utils import timezone

from goodput.models import DayAccount
from goodput.parts import HELD, Part
from runs.models import Run
from runs.status import RunStatus
from tests.factories import RunFactory

DAY = date(2026, 5, 30)
HOUR = 3_600_000_000


def accounted(
    *, day: date = DAY, days: int = 1, utilization: float | None = None, run: Run | None = None,
    hours: dict[Part, float], **fields,
) -> Run:  # fmt: skip
    """A run that is over and has spent these ``hours`` on each of ``days``."""
    run = run or RunFactory(status=RunStatus.COMPLETED, is_accounted=True, held_seconds=1, **fields)
    for number in range(days):
        parts = {part.value: int(hours.get(part, 0) * HOUR) for part in Part}
        held = sum(parts[part] for part in HELD)
        DayAccount.objects.create(
            run=run,
            day=day + timedelta(days=number),
            project_id=run.project_id,
            created_by=run.created_by,
            pool=run.pool or run.gpu_type,
            gpu_count=run.gpu_count,
            is_first=number == 0,
            measured=0 if utilization is None else held,
            idle=0 if utilization is None else round(held * (1 - utilization)),
            updated_at=timezone.now(),
            **parts,
        )
    return run
