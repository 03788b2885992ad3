"""Data-parallel training over several nodes: every rank has a share of each batch.

All ranks draw the same batch, compute the gradients of their own share of it, and add these up in
the order of the ranks: so all have the same weights at every step, bit by bit, also after a resume.
Ranks meet at ``TRAINHUB_MASTER_ADDR`` and ``TRAINHUB_MASTER_PORT``; rank 0 adds up. With one node,
nothing of this takes place.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from configuration import ConfigurationError

MEETING_SECONDS = 120.0  # until all ranks have to be there
RETRY_SECONDS = 0.1

FloatArray = npt.NDArray[Any]


class RankLostError(OSError):
    """Another rank has ended, or cannot be reached any more."""


@dataclass
class Ranks:
    """This rank among ``count``. ``connections``: of rank 0 to all others, in their order; of
    another rank to rank 0."""

    rank: int = 0
    count: int = 1
    connections: list[socket.socket] = field(default_factory=list)

    @classmethod
    def meet(cls, environment: Mapping[str, str] = os.environ) -> Ranks:
        """Wait for the other ranks.

        Raises:
            ConfigurationError: They do not come.
        """
        count = int(environment.get("TRAINHUB_NODES", "1"))
        rank = int(environment.get("TRAINHUB_NODE_RANK", "0"))
        if count == 1:
            return cls()
        address = environment["TRAINHUB_MASTER_ADDR"], int(environment["TRAINHUB_MASTER_PORT"])
        try:
            if rank == 0:
                return cls(0, count, _accept(address[1], count - 1))
            return cls(rank, count, [_connect(address, rank)])
        except OSError as error:
            raise ConfigurationError(f"the ranks cannot meet at {address}: {error}") from error

    @property
    def is_first(self) -> bool:
        """Whether this rank reports and saves."""
        return self.rank == 0

    def share(self, values: FloatArray) -> FloatArray:
        """This rank's part of a batch; the parts differ by one at most."""
        return np.array_split(values, self.count)[self.rank]

    def any(self, value: bool) -> bool:
        """Whether ``value`` is true on any rank."""
        return bool(self.sum(np.array([float(value)]))[0])

    def sum(self, values: FloatArray) -> FloatArray:
        """The sum over all ranks, the same bits on each.

        Raises:
            RankLostError: Another rank is gone.
        """
        if self.count == 1:
            return values
        if self.rank:
            self.connections[0].sendall(values.tobytes())
            return _received(self.connections[0], values)
        total = values.copy()
        for connection in self.connections:
            total += _received(connection, values)
        content = total.tobytes()
        for connection in self.connections:
            connection.sendall(content)
        return total


def _accept(port: int, others: int) -> list[socket.socket]:
    by_rank: dict[int, socket.socket] = {}
    with socket.create_server(("", port)) as listener:
        listener.settimeout(MEETING_SECONDS)
        while len(by_rank) < others:
            connection, _address = listener.accept()
            _prepare(connection)
            by_rank[int(_received(connection, np.zeros(1))[0])] = connection
    return [by_rank[rank] for rank in sorted(by_rank)]


def _connect(address: tuple[str, int], rank: int) -> socket.socket:
    deadline = time.monotonic() + MEETING_SECONDS
    while True:
        try:
            connection = socket.create_connection(address, timeout=MEETING_SECONDS)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_SECONDS)
            continue
        _prepare(connection)
        connection.sendall(np.array([float(rank)]).tobytes())
        return connection


def _prepare(connection: socket.socket) -> None:
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _received(connection: socket.socket, like: FloatArray) -> FloatArray:
    """An array of the shape and type of ``like``."""
    content = bytearray(like.nbytes)
    view, missing = memoryview(content), like.nbytes
    while missing:
        count = connection.recv_into(view[like.nbytes - missing :], missing)
        if not count:
            raise RankLostError("another rank has ended")
        missing -= count
    return np.frombuffer(content, like.dtype).reshape(like.shape).copy()
