"""One action on many runs. Each run is a transaction of its own; what is refused is told, with its
reason, and the others are done all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from django.contrib.auth.models import User

from core.exceptions import DomainError
from core.messages import Text
from runs.actions import cancel_run
from runs.descriptions import describe
from runs.interruptions import continue_run, pause_run
from runs.models import Run


@dataclass(frozen=True, slots=True)
class Refusal:
    run: Run
    reason: Text


@dataclass(slots=True)
class Outcome:
    done: list[Run] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


def cancel(runs: Iterable[Run], *, by: User | None) -> Outcome:
    """Ask each run to stop, without waiting until it has."""
    return _each(runs, lambda run: cancel_run(run, by=by, wait_seconds=0))


def pause(runs: Iterable[Run], *, by: User | None) -> Outcome:
    """Ask each run to stop until it is continued, without waiting until it has."""
    return _each(runs, lambda run: pause_run(run, by=by, wait_seconds=0))


def continue_paused(runs: Iterable[Run], *, by: User | None) -> Outcome:
    """Queue each run again."""
    return _each(runs, lambda run: continue_run(run, by=by))


def tag(runs: Iterable[Run], *, key: str, text: str | None, by: User | None) -> Outcome:
    """Set the tag ``key`` of each run to ``text``; None deletes it."""
    return _each(runs, lambda run: describe(run, tags={key: text}, by=by))


def archive(runs: Iterable[Run], *, by: User | None) -> Outcome:
    return _each(runs, lambda run: run.archive(by=by))


def unarchive(runs: Iterable[Run], *, by: User | None) -> Outcome:
    return _each(runs, lambda run: run.unarchive(by=by))


def delete(runs: Iterable[Run], *, by: User | None) -> Outcome:
    """Move each run to the trash."""
    return _each(runs, lambda run: run.move_to_trash(by=by))


def restore(runs: Iterable[Run], *, by: User | None) -> Outcome:
    """Take each run out of the trash."""
    return _each(runs, lambda run: run.restore(by=by))


def _each(runs: Iterable[Run], action: Callable[[Run], object]) -> Outcome:
    outcome = Outcome()
    for run in runs:
        try:
            action(run)
        except DomainError as error:
            outcome.refused.append(Refusal(run, error.message))  # type: ignore[arg-type]
        else:
            outcome.done.append(run)
    return outcome
