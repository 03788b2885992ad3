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
        CASE
            WHEN total_steps > start_step AND step > start_step
            THEN least(1, (step - start_step)::float8 / (total_steps - start_step))
            ELSE held_seconds / expected_seconds
        END AS share
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
        planned = hold.planned_seconds
        shares = self._shares.get(hold.recipe_id)
        if not planned or not shares:
            return hold
        done = max(0.0, 1 - (hold.release.at - now) / planned)
        possible = len(shares) - (first := bisect_right(shares, done))
        if not possible:
            return hold
        share = shares[first + int(random.random() * possible)]
        ends = now + (share - done) * planned
        return hold._replace(release=hold.release._replace(ends=ends))

    def candidate(self, candidate: Candidate, random: Random) -> Candidate:
        """The candidate with a length that is drawn."""
        shares = self._shares.get(candidate.recipe_id)
        if not shares or candidate.expected_seconds is None:
            return candidate
        share = shares[int(random.random() * len(shares))]
        return candidate._replace(real_seconds=candidate.expected_seconds * share)
