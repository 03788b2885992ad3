"""The GPUs that a worker's runs take, as the tables have them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from execution.scheduling.candidate import Candidate
from execution.scheduling.gpu_use import devices_of_hosts, expected_ends
from execution.scheduling.supply import Reservation, Supplies, Supply


@dataclass(slots=True)
class StoredSupplies(Supplies):
    """Reads when GPUs become free only if a run has to wait for them.

    ``pool_hosts``: those that serve the pool; empty: all."""

    name: str = ""
    host_name: str = ""
    pool_hosts: Collection[str] = ()
    _has_releases: bool = False

    def lacks_devices(self, head: Candidate) -> bool:
        """Whether the host has too few free devices for ``head``."""
        host = self.host
        return head.uses_devices and host is not None and host.free < head.gpu_count

    def other_hosts(self) -> dict[str, Supply]:
        """The devices of the other hosts that serve the pool."""
        return {
            name: supply
            for name, supply in devices_of_hosts().items()
            if name != self.host_name and (not self.pool_hosts or name in self.pool_hosts)
        }

    def starts_elsewhere(self, head: Candidate, now: float) -> bool:
        host = self.host
        if host is None or not self.lacks_devices(head):
            return False
        self._read_releases()
        here = (host.time_of(head.gpu_count, now), self.host_name)
        return any(
            (supply.time_of(head.gpu_count, now), name) < here
            for name, supply in self.other_hosts().items()
            if supply.capacity >= head.gpu_count
        )

    def reserve_for(self, head: Candidate, now: float) -> Reservation:
        self._read_releases()
        return Supplies.reserve_for(self, head, now)

    def _read_releases(self) -> None:
        if not self._has_releases:
            self._has_releases = True
            self.add_releases(expected_ends(self.name, self.host_name))
