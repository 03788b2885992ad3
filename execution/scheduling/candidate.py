"""A run that waits, as the scheduler sees it."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """The place in the queue of a pool: lower ones are first. Interrupted runs go before all
    others; then by priority, by the GPU time that the project has used lately, and by age."""

    is_queued: bool  # and not interrupted
    descending_priority: int
    usage: float  # of the project, in GPU-seconds
    since: float  # Unix seconds: when it was queued, of an interrupted run when it started
    run_id: str


class Candidate(NamedTuple):
    """``expected_seconds``: how long it will hold its GPUs; None: unknown. ``is_guess``: it is not
    known, but a forecast has to take it to be something. ``real_seconds``: how long it does hold
    them, in a forecast that draws it; None: as expected."""

    run_id: str
    project_id: str
    place: Place
    gpu_count: int
    expected_seconds: float | None = None
    is_evaluation: bool = False
    uses_devices: bool = False  # of the worker's host
    is_guess: bool = False
    recipe_id: str = ""
    planned_seconds: float | None = None  # from its first step on
    real_seconds: float | None = None
