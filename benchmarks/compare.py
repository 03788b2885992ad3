"""make bench BASE=../other: this checkout next to another one, such as the last release.

Both servers run at once, and their short repetitions alternate, so a slow second of the machine
affects both. Each round starts new servers on new databases, because memory layout and table
statistics favor one side for as long as it runs. The figure is the median ratio over the rounds:
above 1, this checkout is faster.

python -m benchmarks.compare OTHER_CHECKOUT [--rounds 3] [--seconds 0.25] [--repetitions 20]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice, repeat
from pathlib import Path
from typing import Final, TypeAlias

import orjson

from benchmarks import bodies
from benchmarks.client import call, drive, request
from benchmarks.cloning import full_run
from benchmarks.database import running_cluster
from benchmarks.environments import ROOT
from benchmarks.report import print_line
from benchmarks.servers import API, TRAINHUB_PORT, Server, trainhub

Feeds: TypeAlias = Sequence[Iterator[bytes]]
LOWEST: Final = 0.95
HISTORY_POINTS: Final = 20_000
RUNS: Final = 60
LINES: Final = 10_000


def _get(path: str, connections: int = 4) -> Feeds:
    return [repeat(request("GET", path)) for _ in range(connections)]


def run_detail(server: Server) -> Feeds:
    project_id, run_id = full_run(server)
    return _get(f"/projects/{project_id}/runs/{run_id}", 16)


def batches(server: Server) -> Feeds:
    return [bodies.log_batch(run, bodies.metric_names(20), 50) for run in server.new_runs(4)]


def rest_batches(server: Server) -> Feeds:
    project_id = server.new_experiment()
    runs = [server.new_run(project_id) for _ in range(4)]
    return [bodies.rest_batch(project_id, run, bodies.metric_names(20), 50) for run in runs]


def single_points(server: Server) -> Feeds:
    return [bodies.log_metric(run) for run in server.new_runs(4)]


def rest_single_points(server: Server) -> Feeds:
    project_id = server.new_experiment()
    runs = [server.new_run(project_id) for _ in range(4)]
    return [bodies.rest_batch(project_id, run, ["loss"], 1) for run in runs]


def history(server: Server) -> Feeds:
    (run_id,) = server.new_runs(1)
    feed = bodies.log_batch(run_id, ["loss"], 1000)
    drive(server.port, [islice(feed, HISTORY_POINTS // 1000)], 60)
    query = f"run_id={run_id}&metric_key=loss&max_results={HISTORY_POINTS}"
    return _get(f"{API}metrics/get-history?{query}", 1)


def mlflow_run(server: Server) -> Feeds:
    _project_id, run_id = full_run(server)
    return _get(f"{API}runs/get?run_id={run_id}")


def search(server: Server) -> Feeds:
    experiment_id = _project_of_runs(server)
    query = {"experiment_ids": [experiment_id], "max_results": 50}
    return [repeat(request("POST", f"{API}runs/search", orjson.dumps(query))) for _ in range(2)]


def run_list(server: Server) -> Feeds:
    return _get(f"/projects/{_project_of_runs(server)}/runs?page=1&page_size=50", 2)


def _project_of_runs(server: Server) -> str:
    experiment_id = server.new_experiment()
    for _ in range(RUNS):
        server.new_run(experiment_id)
    return experiment_id


def curve(server: Server) -> Feeds:
    project_id, run_id = full_run(server)
    feed = bodies.log_batch(run_id, ["curve"], 1000)
    drive(server.port, [islice(feed, 100)], 60)
    return _get(
        f"/projects/{project_id}/runs/{run_id}/metrics/series?keys=curve&max_points=1000", 2
    )


def log_page(server: Server) -> Feeds:
    project_id, run_id = full_run(server)
    path = f"/projects/{project_id}/runs/{run_id}/logs"
    lines = [{"message": f"step {number}: loss=2.31"} for number in range(LINES)]
    call(server.port, "POST", path, {"lines": lines})
    return _get(f"{path}?page=100&page_size=50", 2)


def page(server: Server) -> Feeds:
    """A run's page in the dashboard."""
    project_id, run_id = full_run(server)
    return _get(f"/dashboard/projects/{project_id}/runs/{run_id}", 2)


SUBJECTS: Final[dict[str, Callable[[Server], Feeds]]] = {
    "GET a run": run_detail,
    "log-batch of 1,000 points": batches,
    "POST …/metrics of 1,000 points": rest_batches,
    "log-metric, single points": single_points,
    "POST …/metrics, single points": rest_single_points,
    "get-history of 20,000 points": history,
    "runs/get": mlflow_run,
    "runs/search, 50 runs": search,
    "GET 50 runs": run_list,
    "GET a curve of 100,000 points": curve,
    "GET 50 log lines": log_page,
    "a run's page": page,
}


def ratio(
    servers: tuple[Server, Server], feeds: tuple[Feeds, Feeds], seconds: float, repetitions: int
) -> tuple[float, float]:
    """Return the median ratio of this checkout's rate to the other's, and its own median rate."""
    counts = []
    for server, feed in zip(servers, feeds, strict=True):
        warm_up = drive(server.port, feed, seconds)
        counts.append(int(2 * warm_up.rate * seconds / len(feed)) + 4)
    ratios, rates = [], []
    for repetition in range(repetitions):
        measured = [0.0, 0.0]
        for side in (0, 1) if repetition % 2 else (1, 0):
            ready = [iter(list(islice(feed, counts[side]))) for feed in feeds[side]]
            measured[side] = drive(servers[side].port, ready, seconds).rate
        ratios.append(measured[0] / measured[1])
        rates.append(measured[0])
    return statistics.median(ratios), statistics.median(rates)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.25)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--only", default="", help="subjects that contain this text")
    options = parser.parse_args()
    subjects = {what: prepare for what, prepare in SUBJECTS.items() if options.only in what}
    rounds: dict[str, list[tuple[float, float]]] = {what: [] for what in subjects}
    for _round in range(options.rounds):
        with started_servers(options.other.resolve()) as servers:
            for what, prepare in subjects.items():
                feeds = prepare(servers[0]), prepare(servers[1])
                measured = ratio(servers, feeds, options.seconds, options.repetitions)
                rounds[what].append(measured)
    return report(rounds)


@contextmanager
def started_servers(other: Path) -> Iterator[tuple[Server, Server]]:
    """This checkout's server and the other's, on one PostgreSQL."""
    # Short, because the length of a UNIX socket path is limited.
    with tempfile.TemporaryDirectory(prefix="th-", dir="/tmp") as name, ExitStack() as stack:
        directory = Path(name)
        cluster = stack.enter_context(running_cluster(directory))
        this_server, other_server = (
            stack.enter_context(
                trainhub(cluster, directory / side, root=root, port=TRAINHUB_PORT + 10 + number)
            )
            for number, (side, root) in enumerate([("this", ROOT), ("other", other)])
        )
        yield this_server, other_server


def report(rounds: Mapping[str, Sequence[tuple[float, float]]]) -> int:
    """Print the median of each subject; return 1 if one is below LOWEST, else 0."""
    slower = []
    for what, measured in rounds.items():
        ratios, rates = zip(*measured, strict=True)
        by, rate = statistics.median(ratios), statistics.median(rates)
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print_line(f"  {what}: {by:.2f} × the other checkout ({spread}; {rate:,.0f}/s)")
        if by < LOWEST:
            slower.append(what)
    if slower:
        print_line(f"\nBelow {LOWEST}: {', '.join(slower)}")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
