"""When the runs of a queue will start, if they end as earlier ones have and no other comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from random import Random
from statistics import median
from typing import Final

from execution.scheduling.candidate import Candidate
from execution.scheduling.endings import Endings
from execution.scheduling.listed_queue import ListedQueue
from execution.scheduling.policy import Pass
from execution.scheduling.supply import Hold, Supplies

UNKNOWN_SECONDS: Final = 3600.0  # of a run, if of none is known how long it takes
LOOKAHEAD: Final = 200  # waiting runs that a pass considers
SCENARIOS: Final = 15
MAX_STARTS: Final = 4000  # in all scenarios together, which takes a third of a second
MAX_PASSES: Final = 5000


def likely_starts(
    candidates: Sequence[Candidate],
    holds: Sequence[Hold],
    new_supplies: Callable[[], Supplies],
    now: float,
    endings: Endings,
    *,
    wanted: Set[str],
) -> dict[str, float]:
    """Run ID -> the median of its starts if runs end as earlier ones have (the Monte Carlo method),
    of the ``wanted`` ones for which there is one. The more runs start until then, the fewer
    scenarios are played, down to one.

    ``candidates``: in the order of the queue; ``holds``: of the GPUs that are not free;
    ``new_supplies``: those of the pool, without releases.
    """
    random = Random(0)  # the same each time somebody looks
    places = [place for place, it in enumerate(candidates, 1) if it.run_id in wanted]
    if not places:
        return {}
    scenarios = max(1, min(SCENARIOS, MAX_STARTS // places[-1]))
    # In an order of their own: that in which the table has them changes, and with it what is drawn.
    holds = sorted(holds, key=_order)
    starts: dict[str, list[float]] = {candidates[place - 1].run_id: [] for place in places}
    for _number in range(scenarios):
        supplies = new_supplies()
        supplies.add_releases(endings.hold(hold, now, random) for hold in holds)
        drawn = [endings.candidate(candidate, random) for candidate in candidates]
        for pk, at in forecast(drawn, supplies, now, wanted=wanted).items():
            starts[pk].append(at)
    middle = scenarios // 2
    return {pk: sorted(found)[middle] for pk, found in starts.items() if len(found) > middle}


def _order(hold: Hold) -> tuple[float, int, str, float]:
    return hold.release.at, hold.release.gpus, hold.recipe_id, hold.planned_seconds or 0.0


def forecast(
    candidates: Iterable[Candidate], supplies: Supplies, now: float, *, wanted: Set[str]
) -> dict[str, float]:
    """Run ID -> start (Unix seconds), of the ``wanted`` ones for which there is one.

    ``supplies``: with the releases of what is held now; changes. Of the worker's host, nothing is
    considered: another host may have its devices free.
    """
    listed = _with_known_lengths(list(candidates))
    queue = ListedQueue(listed, lookahead=LOOKAHEAD)
    starts: dict[str, float] = {}
    missing = set(wanted) & {candidate.run_id for candidate in listed}
    smallest = min((candidate.gpu_count for candidate in listed), default=0)
    for _number in range(MAX_PASSES):
        if supplies.may_fit(smallest):
            for candidate in Pass(queue, supplies, now):
                if candidate.run_id in missing:
                    starts[candidate.run_id] = now
                    missing.discard(candidate.run_id)
        upcoming = supplies.next_release()
        if not missing or upcoming is None:
            break
        now = max(now, upcoming)
        supplies.advance(now)
    return starts


def _with_known_lengths(candidates: list[Candidate]) -> list[Candidate]:
    known = [
        candidate.expected_seconds
        for candidate in candidates
        if candidate.expected_seconds is not None
    ]
    guess = median(known) if known else UNKNOWN_SECONDS
    return [
        candidate._replace(
            uses_devices=False,
            expected_seconds=guess
            if candidate.expected_seconds is None
            else candidate.expected_seconds,
            # Nor does the queue let one go ahead of which it does not know how long it takes.
            is_guess=candidate.expected_seconds is None,
        )
        for candidate in candidates
    ]
