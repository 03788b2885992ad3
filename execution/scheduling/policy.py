"""Which runs of a pool start now: pure, over any queue.

In the order of the queue, all or nothing. The first run that does not fit gets a reservation: GPUs
are held back for it, and only runs that do not delay it go ahead (backfilling). Before that, small
evaluations take the GPUs that the pool keeps for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from execution.scheduling.candidate import Candidate
from execution.scheduling.supply import Fit, Reservation, Supplies


class Queue(Protocol):
    """The runs that wait for the GPUs of a pool, without those that a quota holds back."""

    def first(self, fit: Fit) -> Candidate | None:
        """The first in the order of the queue that fits."""

    def take(self, candidate: Candidate) -> None:
        """It waits no longer."""

    def skip(self, candidate: Candidate) -> None:
        """It is not this worker's to start."""


class Pass:
    """One pass over the queue of a pool. Iterating takes the runs that start."""

    def __init__(
        self, queue: Queue, supplies: Supplies, now: float, *, backfills: bool = True
    ) -> None:
        """``backfills``: whether runs go ahead of one that waits for GPUs."""
        self._backfills = backfills
        self._queue = queue
        self._supplies = supplies
        self._now = now
        # The head of the queue, if it waits for GPUs, and what is held back for it.
        self.blocked: Candidate | None = None
        self.reservation: Reservation | None = None

    def __iter__(self) -> Iterator[Candidate]:
        """A run is taken when the next one is asked for."""
        yield from self._seats()
        yield from self._in_order()
        if self.reservation is not None and self._backfills:
            yield from self._backfill(self.reservation)

    def _seats(self) -> Iterator[Candidate]:
        if not self._supplies.reserve:
            return
        while (candidate := self._queue.first(self._supplies.seats())) is not None:
            yield candidate
            self._take(candidate)

    def _in_order(self) -> Iterator[Candidate]:
        capacity = self._supplies.capacity()
        while (head := self._queue.first(capacity)) is not None:
            if not self._supplies.fits(head):
                if self._supplies.starts_elsewhere(head, self._now):
                    self._queue.skip(head)
                    continue
                self.blocked = head
                self.reservation = self._supplies.reserve_for(head, self._now)
                return
            yield head
            self._take(head)

    def _backfill(self, reservation: Reservation) -> Iterator[Candidate]:
        while True:
            fit = reservation.fit(self._now)
            if max(fit.training, fit.evaluation) <= 0:
                return
            candidate = self._queue.first(fit)
            if candidate is None:
                return
            yield candidate
            self._queue.take(candidate)
            reservation.take(candidate, self._now)

    def _take(self, candidate: Candidate) -> None:
        self._queue.take(candidate)
        self._supplies.take(candidate, self._now)
