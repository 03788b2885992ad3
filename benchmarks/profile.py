"""Profile TrainHub's server under load: py-spy samples and query plans.

python -m benchmarks.profile run-detail|log-metric|log-batch|log-batch-wide|series|list

py-spy attaches to running processes; without root this may require
sysctl kernel.yama.ptrace_scope=0.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Final

import psutil

from benchmarks import bodies, servers
from benchmarks.client import Pace, drive, measure, request
from benchmarks.cloning import clone_runs, full_run
from benchmarks.database import running_cluster
from benchmarks.environments import BENCH, ROOT, program
from benchmarks.processes import family
from benchmarks.report import print_line
from benchmarks.servers import Server
from benchmarks.unmodified import fill_series

SAMPLES_PER_SECOND: Final = 250
LINES: Final = 30
Feeds = Sequence[Iterator[bytes]]


def run_detail(server: Server, project_id: str, run_id: str) -> Feeds:
    return [repeat(request("GET", f"/projects/{project_id}/runs/{run_id}"))] * 16


def log_metric(server: Server, project_id: str, run_id: str) -> Feeds:
    return [bodies.log_metric(server.new_run(project_id)) for _ in range(4)]


def log_batch(server: Server, project_id: str, run_id: str) -> Feeds:
    names = bodies.metric_names(20)
    return [bodies.log_batch(server.new_run(project_id), names, 50) for _ in range(4)]


def log_batch_wide(server: Server, project_id: str, run_id: str) -> Feeds:
    names = bodies.metric_names(1000)
    return [bodies.log_batch(server.new_run(project_id), names, 1) for _ in range(4)]


def series(server: Server, project_id: str, run_id: str) -> Feeds:
    fill_series(server, run_id, "loss", 100_000)
    path = f"/projects/{project_id}/runs/{run_id}/metrics/series?keys=loss&max_points=1000"
    return [repeat(request("GET", path))]


def run_list(server: Server, project_id: str, run_id: str) -> Feeds:
    clone_runs(server, run_id, 1000)
    return [repeat(request("GET", f"/projects/{project_id}/runs?page=1&page_size=50"))]


LOADS: Final[dict[str, Callable[[Server, str, str], Feeds]]] = {
    "run-detail": run_detail,
    "log-metric": log_metric,
    "log-batch": log_batch,
    "log-batch-wide": log_batch_wide,
    "series": series,
    "list": run_list,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("load", choices=LOADS)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    directory = BENCH / "profile"
    with running_cluster(directory) as cluster, servers.trainhub(cluster, directory) as server:
        project_id, run_id = full_run(server)
        feeds = LOADS[options.load](server, project_id, run_id)
        pace = Pace(repetitions=3, seconds=options.seconds / 4)
        measured = measure(server.port, feeds, pace, watched=server.watched())
        print_line(f"{options.load}: {measured.rate:,.0f}/s; CPU time per request: "
            f"{measured.cpu_per_response}")  # fmt: skip
        stacks = sampled(server, feeds, options.seconds, directory)
        print_line("\nPython's own time (without waiting and the web server's Rust code):")
        print_line(f"\n{'share':>6}  self, by module")
        print_line(table(stacks, lambda stack: {module(stack[-1])}))
        print_line(f"\n{'share':>6}  including calls, by function")
        print_line(table(stacks, lambda stack: {function(frame) for frame in stack}))
        print_line(f"\n{plans(server, project_id, run_id)}")


def sampled(
    server: Server, feeds: Feeds, seconds: float, directory: Path
) -> Counter[tuple[str, ...]]:
    """Count the samples of each stack in the server's worker processes under load."""
    recorders = []
    for process in _workers(server):
        output = directory / f"{process.pid}.txt"
        command = [program("profiler", "py-spy"), "record", "--pid", str(process.pid)]
        # Only threads that hold the GIL; threads that wait for the database or the kernel do not.
        form = [
            "--gil",
            "--format",
            "raw",
            "--output",
            str(output),
            "--rate",
            str(SAMPLES_PER_SECOND),
        ]
        length = ["--duration", str(max(1, int(seconds)))]
        recorder = subprocess.Popen(
            [*command, *form, *length], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        recorders.append((recorder, output))
    drive(server.port, feeds, seconds + 1)
    stacks: Counter[tuple[str, ...]] = Counter()
    for recorder, output in recorders:
        recorder.wait()
        for line in output.read_text().splitlines():
            frames, _space, count = line.rpartition(" ")
            if frames:
                stacks[tuple(frames.split(";"))] += int(count)
    return stacks


def _workers(server: Server) -> list[psutil.Process]:
    """The Python processes that handle requests: not the started one, and not nginx's."""
    return [process for process in family(server.pid)[1:] if process.name() != "nginx"]


def module(frame: str) -> str:
    """`get_response (django/core/handlers/base.py:140)` -> `django/core/handlers`."""
    path = frame.rpartition("(")[2].partition(":")[0].removesuffix(".py")
    return "/".join(path.removeprefix(f"{ROOT}/").split("/")[:3])


def function(frame: str) -> str:
    return f"{frame.partition(' ')[0]} ({module(frame)})"


def table(stacks: Counter[tuple[str, ...]], names: Callable[[tuple[str, ...]], set[str]]) -> str:
    """Return the names with the most samples, and their shares."""
    samples: Counter[str] = Counter()
    for stack, count in stacks.items():
        samples.update(dict.fromkeys(names(stack), count))
    total = stacks.total()
    return "\n".join(f"{count / total:6.1%}  {name}" for name, count in samples.most_common(LINES))


def plans(server: Server, project_id: str, run_id: str) -> str:
    settings = {"DATABASE_URL": server.cluster.url(server.database)}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.explain", project_id, run_id],
        env=os.environ | settings,
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


if __name__ == "__main__":
    main()
