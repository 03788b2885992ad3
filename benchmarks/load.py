"""make load: 200 clients of four roles use the API for minutes, at the pace of people and scripts.

python -m benchmarks.load [--seconds 300] [--record]

Each client waits two seconds on average between an answer and its next request. What it asks for is
drawn by its role; every status must be one that this role gets there. A worker carries the runs
out. Fails if an answer was another, or if a process grew.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.access import guarded
from benchmarks.bench import Bench
from benchmarks.client import Pace
from benchmarks.database import running_cluster
from benchmarks.environments import BENCH, ROOT
from benchmarks.processes import MemorySampler
from benchmarks.report import machine, print_line, record
from benchmarks.servers import Server

DOCUMENT: Final = ROOT / "docs" / "reliability.md"
SECTION: Final = ("<!-- load: written by make load RECORD=1 -->", "<!-- /load -->")
CLIENTS: Final = {"viewer": 60, "member": 80, "maintainer": 40, "operator": 20}
PAUSE_SECONDS: Final = 2.0
WARM_SHARE: Final = 0.2  # of the time, after which a process has the memory that it needs
GROWTH: Final = 1.1  # of a process's memory from then to the end, at most
MIB: Final = 2**20
RUN: Final = {
    "recipe": "simulated",
    "hyperparameters": {"learning_rate": 3e-5, "batch_size": 32, "num_epochs": 1},
}
FURTHER: Final = 100  # steps that a resumed run makes
POINTS: Final = 20  # of a request
LOOKS: Final = 5  # at runs of a list, before it is asked for again


@dataclass
class Figures:
    """What all clients have seen."""

    ms: dict[str, list[float]] = field(default_factory=dict)  # by request
    statuses: dict[tuple[str, int], int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str, status: int, ms: float, error: str) -> None:
        with self.lock:
            self.ms.setdefault(what, []).append(ms)
            self.statuses[what, status] = self.statuses.get((what, status), 0) + 1
            if error:
                self.wrong.append(error)


class Client(threading.Thread):
    """One caller with a token and a connection of its own."""

    def __init__(
        self, port: int, role: str, number: int, made: Any, figures: Figures, deadline: float
    ) -> None:
        super().__init__(name=f"{role} {number}", daemon=True)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {
            "Authorization": f"Bearer {made['tokens'][role][number]}",
            "Content-Type": "application/json",
        }
        self._random = random.Random(f"{role} {number}")
        self._projects: list[str] = made["project_ids"]
        self._strange: list[str] = made["strange_ids"]
        self._figures, self._deadline = figures, deadline
        self._step = 0
        self._own: tuple[str, str] | None = None  # project and run that it reports to
        self._seen: tuple[str, list[str]] = "", []  # project and runs of the last list
        self._looks = 0
        self._requests = self._weighted(role)

    def run(self) -> None:
        names, weights = list(self._requests), [weight for weight, _ in self._requests.values()]
        time.sleep(self._random.uniform(0, PAUSE_SECONDS))
        while time.monotonic() < self._deadline:
            name = self._random.choices(names, weights)[0]
            try:
                self._requests[name][1]()
            except (OSError, http.client.HTTPException) as error:
                self._figures.add(name, 0, 0, f"{self.name}: {name}: {error!r}")
                self._connection.close()
            time.sleep(self._random.expovariate(1 / PAUSE_SECONDS))

    def _weighted(self, role: str) -> dict[str, tuple[float, Callable[[], object]]]:
        """Names of requests with how often they are made, and how."""
        reads: dict[str, tuple[float, Callable[[], object]]] = {
            "GET /projects": (4, lambda: self._ask("GET /projects", "/projects?page_size=20")),
            "GET project": (4, self._read_project),
            "GET run": (10, self._read_run),
            "GET logs": (6, lambda: self._read_below_run("GET logs", "logs?page_size=100")),
            "GET artifacts": (3, lambda: self._read_below_run("GET artifacts", "artifacts")),
            "GET curve": (6, self._read_curve),
            "GET a stranger's run": (1, self._read_strange),
        }
        if role == "viewer":
            return {**reads, "POST run, as a viewer": (1, self._refused_run)}
        writes: dict[str, tuple[float, Callable[[], object]]] = {
            "POST run": (1, self._create_run),
            "POST cancel": (0.5, self._cancel),
            "POST resume": (0.3, self._resume),
            "POST points": (12, self._send_points),
            "POST lines": (6, self._send_lines),
            "MLflow log-batch": (6, self._log_batch),
        }
        if role == "member":
            return {**reads, **writes, "POST project": (0.1, self._create_project)}
        return {**reads, **writes, "POST tag": (1, self._tag)}

    # --- requests ---

    def _ask(
        self,
        what: str,
        path: str,
        body: Any = None,
        expected: tuple[int, ...] = (200,),
    ) -> Any:
        """The answer's JSON; None if it is no success."""
        content = None if body is None else json.dumps(body)
        began = time.perf_counter()
        self._connection.request("GET" if body is None else "POST", path, content, self._headers)
        response = self._connection.getresponse()
        answer = response.read()
        ms = 1000 * (time.perf_counter() - began)
        wrong = response.status not in expected
        error = f"{self.name}: {what}: {response.status} {answer[:300]!r}" if wrong else ""
        self._figures.add(what, response.status, ms, error)
        return json.loads(answer) if response.status < 300 else None

    def _project(self) -> str:
        return self._random.choice(self._projects)

    def _run_in(self, *statuses: str) -> tuple[str, str] | None:
        """A run of one of the first projects, in one of these states."""
        project = self._random.choice(self._projects[:4])
        query = "&".join(f"status={http_quoted(status)}" for status in statuses)
        runs = self._ask("GET runs", f"/projects/{project}/runs?page_size=20&{query}")
        return (project, self._random.choice(runs)["id"]) if runs else None

    def _read_project(self) -> None:
        self._ask("GET project", f"/projects/{self._project()}")

    def _run_to_read(self) -> tuple[str, str] | None:
        """A run of the last list, as somebody has it who reads one after the other."""
        if self._looks == 0:
            project = self._random.choice(self._projects[:4])
            runs = self._ask("GET runs", f"/projects/{project}/runs?page_size=20")
            self._seen = project, [run["id"] for run in runs]
        self._looks = (self._looks + 1) % LOOKS
        project, ids = self._seen
        return (project, self._random.choice(ids)) if ids else None

    def _read_run(self) -> None:
        if found := self._run_to_read():
            self._ask("GET run", "/projects/{}/runs/{}".format(*found))

    def _read_below_run(self, what: str, below: str) -> Any:
        found = self._run_to_read()
        return found and self._ask(what, "/projects/{}/runs/{}/".format(*found) + below)

    def _read_curve(self) -> None:
        self._read_below_run("GET curve", "metrics/series?keys=train_loss&max_points=500")

    def _read_strange(self) -> None:
        if "operator" not in self.name:
            project = self._random.choice(self._strange)
            self._ask("GET a stranger's run", f"/projects/{project}/runs", expected=(404,))

    def _refused_run(self) -> None:
        self._ask("POST run, as a viewer", f"/projects/{self._project()}/runs", RUN, (403,))

    def _create_project(self) -> None:
        self._ask("POST project", "/projects", {"name": f"of {self.name}"}, (201,))

    def _create_run(self) -> None:
        project = self._random.choice(self._projects[:4])
        self._ask("POST run", f"/projects/{project}/runs", RUN, (201,))

    def _cancel(self) -> None:
        if found := self._run_in("运行中", "排队中"):
            path = "/projects/{}/runs/{}/cancel".format(*found)
            self._ask("POST cancel", path, {}, (200, 202, 409))  # 409: it is over by now

    def _checkpoint(self) -> tuple[str, str, str, int] | None:
        """With its project, run and step."""
        found = self._run_in("已完成", "已取消")
        if found is None:
            return None
        listed = self._ask(
            "GET artifacts", "/projects/{}/runs/{}/artifacts?type=checkpoint".format(*found)
        )
        items = listed if isinstance(listed, list) else listed["items"]
        chosen = self._random.choice(items) if items else None
        return chosen and (*found, chosen["id"], chosen["step"])

    def _resume(self) -> None:
        if found := self._checkpoint():
            path = "/projects/{}/runs/{}/resume?source_artifact_id={}".format(*found)
            longer = {"hyperparameters": {"max_steps": found[3] + FURTHER}}
            self._ask("POST resume", path, longer, (201,))

    def _tag(self) -> None:
        if found := self._checkpoint():
            path = "/projects/{}/runs/{}/artifacts/{}/tag".format(*found)
            self._ask("POST tag", path, {"tag": "候选", "notes": "load"}, (200,))

    # --- reports ---

    def _mine(self) -> str:
        """The address of the run that this client reports to, which no worker carries out."""
        if self._own is None:
            project = self._project()
            made = self._ask(
                "MLflow runs/create",
                "/api/2.0/mlflow/runs/create",
                {"experiment_id": project, "start_time": int(1000 * time.time())},
            )
            self._own = project, made["run"]["info"]["run_id"]
        return "/projects/{}/runs/{}".format(*self._own)

    def _send_points(self) -> None:
        path = self._mine()
        self._step += 1
        at = int(1000 * time.time())
        columns = {
            f"loss_{number}": {
                "steps": [self._step],
                "values": [self._random.random()],
                "timestamps_ms": [at],
            }
            for number in range(POINTS)
        }
        self._ask("POST points", f"{path}/metrics", {"metrics": columns})

    def _send_lines(self) -> None:
        path = self._mine()
        lines = [{"message": f"step {self._step} {number}: 训练"} for number in range(POINTS)]
        self._ask("POST lines", f"{path}/logs", {"lines": lines}, (201,))

    def _log_batch(self) -> None:
        self._mine()
        assert self._own is not None
        self._step += 1
        at = int(1000 * time.time())
        metrics = [
            {"key": f"m_{number}", "value": self._random.random(), "step": self._step,
             "timestamp": at}
            for number in range(POINTS)
        ]  # fmt: skip
        body = {"run_id": self._own[1], "metrics": metrics}
        self._ask("MLflow log-batch", "/api/2.0/mlflow/runs/log-batch", body)


def http_quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


@contextmanager
def worker(server: Server, directory: Path) -> Iterator[int]:
    """One that carries out simulated runs, each in some seconds."""
    environment = os.environ | {
        "DATABASE_URL": server.cluster.url(server.database),
        "TRAINHUB_DATA_DIR": str(directory / "trainhub"),
        "TRAINHUB_SIMULATION_STEPS_PER_SECOND": "20",
    }
    with (directory / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "run_worker", "--slots", "20"],
            env=environment, cwd=ROOT, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(60)


def growth(samples: dict[int, list[float]]) -> dict[int, tuple[float, float]]:
    """By process: its memory in MB once it is warm, and in the end, as medians of ten seconds."""
    grown = {}
    for pid, taken in samples.items():
        warm = int(WARM_SHARE * len(taken))
        if len(taken) - warm > 20:  # a short process says nothing
            first, last = taken[warm : warm + 10], taken[-10:]
            grown[pid] = statistics.median(first), statistics.median(last)
    return grown


def load(bench: Bench, seconds: int) -> tuple[Figures, dict[str, list[tuple[float, float]]]]:
    """The figures of the clients, and the growth of each process of server and worker."""
    figures = Figures()
    with (
        guarded(bench, max(CLIENTS.values())) as (server, made),
        worker(server, bench.directory) as pid,
        MemorySampler(server.pid) as serving,
        MemorySampler(pid) as working,
    ):
        deadline = time.monotonic() + seconds
        clients = [
            Client(server.port, role, number, made, figures, deadline)
            for role, count in CLIENTS.items()
            for number in range(count)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    memory = {
        "web server": list(growth(serving.rss_mb).values()),
        "worker": list(growth(working.rss_mb).values()),
    }
    return figures, memory


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--record", action="store_true", help="write the figures to the document")
    options = parser.parse_args()
    about = machine([])
    directory = BENCH / "load"
    with running_cluster(directory) as cluster:
        bench = Bench(cluster, directory, Pace(), points=0, all_series=False, quick=False)
        figures, memory = load(bench, options.seconds)
    grown = [
        f"{who}: {first:.0f} → {last:.0f} MB"
        for who, pairs in memory.items() for first, last in pairs if last > GROWTH * first
    ]  # fmt: skip
    text = described(about, figures, memory, options.seconds)
    print_line(text)
    for problem in [*figures.wrong[:20], *grown]:
        print_line(problem)
    if options.record:
        record(DOCUMENT, text, SECTION)
    return 1 if figures.wrong or grown else 0


def described(
    about: list[str],
    figures: Figures,
    memory: dict[str, list[tuple[float, float]]],
    seconds: int,
) -> str:
    count = sum(len(taken) for taken in figures.ms.values())
    lines = [
        f"- {line}" for line in about
    ] + [
        f"- {sum(CLIENTS.values())} clients ("
        + ", ".join(f"{number} {role}s" for role, number in CLIENTS.items())
        + f"), {seconds} s, {count:,} requests, {count / seconds:,.0f} a second",
        f"- answers with a status that the role does not get there: {len(figures.wrong)}",
        *(
            f"- memory of the {who}'s processes, warm and in the end: "
            + ", ".join(f"{first:.0f} → {last:.0f} MB" for first, last in pairs)
            for who, pairs in memory.items()
        ),
        "",
        "| request | answers | median | p95 | slowest |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for what, taken in sorted(figures.ms.items()):
        by_status = ", ".join(
            f"{status}: {number:,}"
            for (name, status), number in sorted(figures.statuses.items())
            if name == what
        )
        median, p95, slowest = statistics.median(taken), p95_of(taken), max(taken)
        lines.append(
            f"| {what} | {by_status} | {median:.0f} ms | {p95:.0f} ms | {slowest:.0f} ms |"
        )
    return "\n".join(lines)


def p95_of(values: list[float]) -> float:
    return sorted(values)[max(0, -(-95 * len(values) // 100) - 1)]


if __name__ == "__main__":
    sys.exit(main())
