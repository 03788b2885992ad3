"""Benchmarks of TrainHub and its peers with the unmodified MLflow client."""

from __future__ import annotations

import json
import statistics
import subprocess
from itertools import islice
from pathlib import Path
from typing import Final

from benchmarks import bodies
from benchmarks.bench import Bench, Subject, Subjects
from benchmarks.client import Connection
from benchmarks.environments import program
from benchmarks.report import Row, compared
from benchmarks.servers import Server

REPETITIONS: Final = 3  # the script takes seconds to start
SCRIPT: Final = Path(__file__).with_name("mlflow_client.py")


def run_client(
    bench: Bench, server: Server, run_id: str, what: str, amount: float, repetitions: int
) -> list[float]:
    """Run mlflow_client.py and return the list it prints."""
    command = [program("mlflow-client", "python"), str(SCRIPT), server.url, run_id, what]
    result = subprocess.run(
        [*command, str(amount), str(repetitions)],
        env={
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "HOME": str(bench.directory),
            "PATH": "/usr/bin:/bin",
        },
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    rates: list[float] = json.loads(result.stdout)
    return rates


def points(bench: Bench) -> list[Row]:
    results: dict[str, dict[str, list[float]]] = {}
    with bench.nothing() as server:
        results["nothing"] = _rates_of_both(bench, server)
    for name, server in bench.ours_and_peers():
        results[name] = _rates_of_both(bench, server)
    rows = []
    for what, title in (
        ("batch", "points/s by MLflow's client, log_batch of 1,000"),
        ("single", "points/s by MLflow's client, log_metric"),
    ):
        rates = {name: statistics.median(each[what]) for name, each in results.items()}
        for name, reference, bars in (
            ("nothing", "a server that stores nothing", {"batch": 0.85}),
            ("FastTrackML", "FastTrackML", {"batch": 1.0, "single": 1.5}),
            ("MLflow", "MLflow", {}),
        ):
            rows.append(
                compared(title, rates["ours"], "/s", reference, rates[name],
                         at_least=bars.get(what), samples=results["ours"][what],
                         limit_samples=results[name][what])
            )  # fmt: skip
    return rows


def _rates_of_both(bench: Bench, server: Server) -> dict[str, list[float]]:
    return {what: _rates(bench, server, what) for what in ("batch", "single")}


def _rates(bench: Bench, server: Server, what: str) -> list[float]:
    run_id = server.new_runs(1)[0] if server.database else "none"
    repetitions = min(REPETITIONS, bench.pace.repetitions)
    return run_client(bench, server, run_id, what, bench.pace.seconds, repetitions)


def history(bench: Bench) -> list[Row]:
    count = bench.size(20_000, 2_000)
    results = {}
    for name, server in bench.ours_and_peers():
        run_id = server.new_runs(1)[0]
        fill_series(server, run_id, "loss", count)
        repetitions = bench.pace.repetitions
        results[name] = run_client(bench, server, run_id, "history", count, repetitions)
    seconds = {name: statistics.median(samples) for name, samples in results.items()}
    what = f"full history of {count:,} points through MLflow's client"
    return [
        compared(what, seconds["ours"], "s", name, seconds[name], at_least=at_least,
                 less_is_better=True, samples=results["ours"], limit_samples=results[name])
        for name, at_least in (("MLflow", 4.0), ("FastTrackML", 1.0))
    ]  # fmt: skip


def fill_series(server: Server, run_id: str, key: str, count: int) -> None:
    """Log a metric with a point at each of ``count`` steps, as a training script does."""
    connection = Connection(server.port)
    for message in islice(bodies.log_batch(run_id, [key], 1000), count // 1000):
        connection.exchange(message)
    connection.close()


SUBJECTS: Final[Subjects] = {
    "mlflow-client": Subject("Points by the unmodified MLflow client", points),
    "history": Subject("History through the unmodified MLflow client", history),
}
