"""A run's progress, as its training reports it."""

from runs.models import Run


def report_progress(run: Run, *, step: int, total_steps: int | None) -> None:
    """Set step, total and progress; without a total, the progress stays unchanged."""
    share = min(1.0, step / total_steps) if total_steps else run.progress
    run.change(step=step, total_steps=total_steps, progress=share)
