"""A run whose history is made by the real actions, and then moved to the times of a story."""

from datetime import UTC, datetime, timedelta

from goodput.account import sums
from goodput.accounting import account_of
from metrics.points import Point, Points
from metrics.recording import record_points
from runs.models import Run, RunEvent
from runs.status import TERMINAL
from tests.factories import RecipeFactory, RunFactory, WorkerFactory, checkpoint

START = datetime(2026, 5, 30, 12, tzinfo=UTC)


def second(number: float) -> datetime:
    return START + timedelta(seconds=number)


class Story:
    def __init__(self, **fields) -> None:
        fields = {"recipe": RecipeFactory(), "queued_at": START, **fields}
        self.run = RunFactory(**fields)
        self.worker = WorkerFactory()
        self._last_event = 0

    def at(self, seconds: float, action) -> None:
        """Call ``action`` with the run, and date what it writes."""
        self.run = Run.objects.get(pk=self.run.pk)
        action(self.run)
        new = RunEvent.objects.filter(run=self.run, pk__gt=self._last_event)
        self._last_event = new.order_by("pk").values_list("pk", flat=True).last() or 0
        new.update(created_at=second(seconds))
        ended = Run.objects.filter(pk=self.run.pk, status__in=TERMINAL)
        ended.update(finished_at=second(seconds))
        self.run.refresh_from_db()

    def claim(self, seconds: float) -> None:
        self.at(seconds, lambda run: run.claim(self.worker))

    def steps(self, seconds: float, *steps: int, every: float = 1.0, key: str = "loss") -> None:
        """Report steps, the first one at this second."""
        points = [
            Point(key, step, 1.0, int(second(seconds + place * every).timestamp() * 1000))
            for place, step in enumerate(steps)
        ]
        record_points(self.run.pk, Points.of(points))
        self.run.refresh_from_db()

    def save(self, step: int) -> None:
        self.run.refresh_from_db()
        checkpoint(self.run, step=step)

    def parts(self) -> dict[str, int]:
        """The seconds of each part that there is."""
        self.run.refresh_from_db()
        found = sums(account_of(self.run).intervals)
        return {part.value: round(time / 1e6) for part, time in found.items() if time}
