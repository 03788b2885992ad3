"""How much of their planned work runs do before they end: many fail, or are cancelled."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

from core.database import Statement
from execution.scheduling.candidate import Candidate
from execution.scheduling.supply import Hold

LOOKED_AT: Final = 5000  # newest ends of all runs
# The part of its steps that each run of the pool has done; without steps, of the time that was
# expected of it.
SHARES: Final = Statement(
    f"""
SELECT recipe_id, array_agg(share ORDER BY share)
FROM (
    SELECT
        recipe_id,
        least(1, CASE
            WHEN total_steps > start_step AND step > start_step
            THEN (step - start_step)::float8 / (total_steps - start_step)
            ELSE held_seconds / expected_seconds
        END) AS share
    FROM (
        SELECT
            recipe_id, pool, start_step, step, total_steps, held_seconds, expected_seconds
        FROM runs_run
        WHERE finished_at IS NOT NULL
        ORDER BY finished_at DESC, id
        LIMIT {LOOKED_AT}
    ) AS newest
    WHERE pool = %(pool)s::text AND recipe_id IS NOT NULL AND held_seconds > 0
        AND (total_steps > start_step AND step > start_step OR expected_seconds > 0)
) AS ended
GROUP BY recipe_id
"""  # noqa: S608  composed of constants
)


class Endings:
    """Draws when runs end, as earlier runs of the same recipe have ended."""

    def __init__(self, shares: Mapping[str, Sequence[float]]) -> None:
        """``shares``: of each recipe, in ascending order."""
        self._shares = shares

    @classmethod
    def read(cls, pool: str) -> Endings:
        return cls(dict(SHARES.rows(pool=pool)))

    def hold(self, hold: Hold, now: float, random: Random) -> Hold:
        """The hold with an end that is drawn from those that are still possible. The scheduler
        goes on to expect the planned one."""
        left = hold.release.at - now
        seconds = self._draw(hold.recipe_id, hold.planned_seconds, left, random)
        if seconds is None:
            return hold
        return hold._replace(release=hold.release._replace(ends=now + seconds))

    def candidate(self, candidate: Candidate, random: Random) -> Candidate:
        """The candidate with a length that is drawn."""
        left = candidate.expected_seconds
        seconds = self._draw(candidate.recipe_id, candidate.planned_seconds, left, random)
        return candidate._replace(real_seconds=seconds)

    def _draw(
        self, recipe_id: str, planned: float | None, left: float | None, random: Random
    ) -> float | None:
        """How much longer a run of ``planned`` seconds works if ``left`` are left to its end; None
        if nothing is known."""
        shares = self._shares.get(recipe_id)
        if not shares or not planned or left is None:
            return None
        done = max(0.0, 1 - left / planned)
        first = bisect_right(shares, done)
        if first == len(shares):
            return None
        return (shares[first + int(random.random() * (len(shares) - first))] - done) * planned
