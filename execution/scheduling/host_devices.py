"""The GPUs of a worker's host: which are free, and which a run is assigned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count as numbers
from itertools import islice

from django.db.models import Q

from runs.models import Run, Worker


@dataclass
class UsedDevices:
    """What is in use of the GPUs that a worker may assign. A device is recognized by its UUID where
    both sides know it, otherwise by its name on the host."""

    uuids: set[str]
    names: set[str]
    names_without_uuid: set[str]

    def add(self, name: str, uuid: str) -> None:
        """``name``: a device's on the worker's host."""
        self.names.add(name)
        if uuid:
            self.uuids.add(uuid)
        else:
            self.names_without_uuid.add(name)

    def has(self, name: str, uuid: str) -> bool:
        if not uuid:
            return name in self.names
        return uuid in self.uuids or name in self.names_without_uuid


class HostDevices:
    """The GPUs of a worker's host, which all its workers share. Reads the database when asked.

    Workers in containers of one machine have hosts of their own: they share the GPUs with the same
    UUIDs.
    """

    def __init__(self, worker: Worker, *, lock: bool = False) -> None:
        """``lock``: the rows of the host's workers, so that none assigns the same devices. Call in
        a transaction then."""
        self._worker = worker
        self._lock = lock

    @cached_property
    def _used(self) -> UsedDevices:
        worker = self._worker
        uuids = [uuid for uuid in worker.device_uuids if uuid]
        neighbors = Worker.objects.filter(Q(host=worker.host) | Q(device_uuids__overlap=uuids))
        if self._lock:
            neighbors = neighbors.select_for_update(no_key=True)
        by_pk = {neighbor.pk: neighbor for neighbor in neighbors.order_by("pk")}
        used = UsedDevices(set(), set(), set())
        held = Run.objects.running().filter(worker__in=by_pk).exclude(devices=[])
        for pk, names in held.values_list("worker", "devices"):
            neighbor = by_pk[pk]
            for name in names:
                uuid = neighbor.uuid_of(name)
                if neighbor.host == worker.host:
                    used.add(name, uuid)
                elif uuid:
                    used.uuids.add(uuid)
        return used

    @property
    def count(self) -> int:
        """How many there are that are known."""
        return len(self._worker.devices or ())

    @property
    def free(self) -> int | None:
        """How many are free; None: it is not known which there are."""
        known = self._worker.devices
        return None if known is None else len(list(self._free(known)))

    def take(self, count: int) -> list[str]:
        """Assign ``count`` free devices; numbers from 0 if it is not known which there are."""
        known = self._worker.devices
        names = map(str, numbers()) if known is None else iter(known)
        taken = list(islice(self._free(names), count))
        for name in taken:
            self._used.add(name, self._worker.uuid_of(name))
        return taken

    def _free(self, names: Iterable[str]) -> Iterator[str]:
        """Those that are free, each device once."""
        seen: set[str] = set()
        for name in names:
            uuid = self._worker.uuid_of(name)
            if uuid not in seen and not self._used.has(name, uuid):
                seen |= {uuid} - {""}
                yield name
