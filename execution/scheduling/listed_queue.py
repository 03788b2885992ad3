"""A queue in memory, for forecasts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from execution.scheduling.candidate import Candidate
from execution.scheduling.supply import NO_LIMIT, Fit


class ListedQueue:
    """See policy.Queue. ``lookahead``: how many waiting runs are considered at most, which bounds
    the time that a decision takes; ``is_free``: whether no quota holds the run back."""

    def __init__(
        self,
        candidates: Iterable[Candidate],
        *,
        lookahead: int = NO_LIMIT,
        is_free: Callable[[Candidate], bool] = lambda _candidate: True,
    ) -> None:
        ordered = sorted(candidates, key=lambda candidate: candidate.place)
        self._waiting = {candidate.run_id: candidate for candidate in ordered}
        self._lookahead = lookahead
        self._is_free = is_free

    def __len__(self) -> int:
        return len(self._waiting)

    def first(self, fit: Fit) -> Candidate | None:
        left = self._lookahead
        for candidate in self._waiting.values():
            if left == 0:
                return None
            left -= 1
            if fit.allows(candidate) and self._is_free(candidate):
                return candidate
        return None

    def take(self, candidate: Candidate) -> None:
        del self._waiting[candidate.run_id]

    def skip(self, candidate: Candidate) -> None:
        del self._waiting[candidate.run_id]
