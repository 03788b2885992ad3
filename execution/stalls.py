"""Whether a run still advances, by the limits of its recipe."""

from __future__ import annotations

from datetime import datetime, timedelta

from core.messages import Message, Text
from runs.models import Recipe, Run
from runs.silence import latest


def may_stall(run: Run) -> bool:
    """Whether its recipe sets a limit."""
    recipe = run.recipe
    return recipe is not None and bool(recipe.stall_silence_seconds or recipe.stall_step_seconds)


def stall(run: Run, at: datetime) -> Text:
    """Why the run has stalled; "" if it has not, by what had been read of its output at ``at``, a
    time of the database's clock, as those of the reports are.

    Only what the current attempt has reported counts.
    """
    recipe = run.recipe
    if recipe is None or not may_stall(run):
        return ""
    run.refresh_from_db(fields=["reported_at", "stepped_at", "attempt_started_at", "step"])
    return _silence(run, recipe, at) or _step(run, recipe, at)


def _silence(run: Run, recipe: Recipe, at: datetime) -> Text:
    since = latest(run.reported_at, run.attempt_started_at)
    if not _is_exceeded(recipe.stall_silence_seconds, since, at):
        return ""
    return Message(
        "Stalled: it has printed and reported nothing for %(seconds)d s.",
        seconds=recipe.stall_silence_seconds,
    )


def _step(run: Run, recipe: Recipe, at: datetime) -> Text:
    since = latest(run.stepped_at, run.attempt_started_at)
    if not _is_exceeded(recipe.stall_step_seconds, since, at):
        return ""
    return Message(
        "Stalled: it has been at step %(step)d for %(seconds)d s.",
        step=run.step,
        seconds=recipe.stall_step_seconds,
    )


def _is_exceeded(limit_seconds: int, since: datetime | None, at: datetime) -> bool:
    if not limit_seconds or since is None:
        return False
    return at - since > timedelta(seconds=limit_seconds)
