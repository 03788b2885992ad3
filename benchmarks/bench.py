"""The context of every measurement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from benchmarks import servers
from benchmarks.client import Pace
from benchmarks.database import Cluster
from benchmarks.report import Row
from benchmarks.servers import Server


@dataclass(frozen=True, slots=True)
class Bench:
    cluster: Cluster
    directory: Path  # for the servers' logs and files
    pace: Pace
    points: int  # stored beforehand by the volume subject
    all_series: bool  # add the rows that a list must not read
    quick: bool  # small tables and short runs: only check that everything works

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def trainhub(self, **settings: str) -> AbstractContextManager[Server]:
        return servers.trainhub(self.cluster, self.directory, settings=settings)

    def mlflow(self, *, jobs: bool = False) -> AbstractContextManager[Server]:
        return servers.mlflow(self.cluster, self.directory, jobs=jobs)

    def fasttrackml(self) -> AbstractContextManager[Server]:
        return servers.fasttrackml(self.cluster, self.directory)

    def bare_django(self) -> AbstractContextManager[Server]:
        return servers.bare_django(self.cluster, self.directory)

    def ours_and_peers(self) -> Iterator[tuple[str, Server]]:
        """Run one server after another: "ours", "FastTrackML", "MLflow"."""
        for name, serving in (
            ("ours", self.trainhub()),
            ("FastTrackML", self.fasttrackml()),
            ("MLflow", self.mlflow()),
        ):
            with serving as server:
                yield name, server

    def nothing(self) -> AbstractContextManager[Server]:
        return servers.nothing(self.cluster, self.directory)


@dataclass(frozen=True, slots=True)
class Subject:
    title: str
    measure: Callable[[Bench], list[Row]]


Subjects: TypeAlias = dict[str, Subject]
