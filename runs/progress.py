"""A run's progress, as its training reports it."""

from typing import Final

from django.db.models.functions import Now

from runs.models import Run

# No training has so many steps, unless all that it reports says so: a metric may have an axis of
# its own, such as tokens.
FAR_STEP: Final = 10_000_000
FAR_TOTALS: Final = 2  # the same, in multiples of the planned steps, if these are known


def far_step(total_steps: int | None) -> int:
    """Steps beyond this one may be those of another axis; metrics/point_queries.py decides."""
    return FAR_TOTALS * total_steps if total_steps else FAR_STEP


def report_progress(run: Run, *, step: int, total_steps: int | None) -> None:
    """Set step, total and progress; without a total, the progress stays unchanged.

    An older step, as that of an evaluation next to the training, does not set the run back.
    """
    _set(run, max(run.step, step), total_steps)


def set_back(run: Run, *, step: int) -> None:
    """Set the run to the earlier ``step`` that its next attempt starts from."""
    _set(run, step, run.total_steps)
    run.change(attempt_start_step=step)


def _set(run: Run, step: int, total_steps: int | None) -> None:
    share = min(1.0, step / total_steps) if total_steps else run.progress
    stepped_at = {"stepped_at": Now()} if step > run.step else {}
    run.change(step=step, total_steps=total_steps, progress=share, **stepped_at)
