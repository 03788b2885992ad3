"""Read benchmarks: a run, a curve, a list, a search, and the log."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from itertools import repeat
from typing import Any, Final

import django
import orjson
from django.db import connections

from benchmarks import bodies
from benchmarks import logs as log_benchmark
from benchmarks.bench import Bench, Subject, Subjects
from benchmarks.client import Measured, Pace, call, measure, request
from benchmarks.cloning import METRICS, PARAMS, clone_runs, full_run
from benchmarks.environments import ROOT
from benchmarks.report import Row, compared
from benchmarks.servers import API, Server
from benchmarks.unmodified import fill_series


def get(server: Server, path: str, pace: Pace, *, connections: int = 1) -> Measured:
    message = request("GET", path)
    feeds = [repeat(message) for _ in range(connections)]
    return measure(server.port, feeds, pace, watched=server.watched())


# --- a run -----------------------------------------------------------------------------------


def run_detail(bench: Bench) -> list[Row]:
    with bench.trainhub() as server:
        project_id, run_id = full_run(server)
        ours = get(server, f"/projects/{project_id}/runs/{run_id}", bench.pace, connections=16)
    with bench.bare_django() as server:
        bare = get(server, "/", bench.pace, connections=16)
    with bench.fasttrackml() as server:
        _experiment_id, run_id = full_run(server)
        path = f"{API}runs/get?run_id={run_id}"
        fasttrackml = get(server, path, bench.pace, connections=16)
    what = f"GET run detail ({METRICS} metrics, {PARAMS} params), 16 connections"
    bare_cost = f"a core's time for a request of the bare view: {bare.cpu_per_response}"
    cost = f"a core's time for a request: {ours.cpu_per_response}; {bare_cost}"
    return [
        Row(what, ours.rate, "/s", at_least=2500, samples=ours.rates, note=cost),
        compared(what, ours.rate, "/s", "FastTrackML's runs/get", fasttrackml.rate, at_least=1.5,
                 samples=ours.rates, limit_samples=fasttrackml.rates),
        compared(what, ours.rate, "/s", "a bare Django view that returns {}", bare.rate,
                 samples=ours.rates, limit_samples=bare.rates),
    ]  # fmt: skip


# --- a curve ---------------------------------------------------------------------------------


def series(bench: Bench) -> list[Row]:
    count = bench.size(1_000_000, 20_000)
    with bench.trainhub() as server:
        project_id = server.new_experiment()
        run_id = server.new_run(project_id)
        fill_series(server, run_id, "loss", count)
        server.cluster.settle(server.database)
        path = f"/projects/{project_id}/runs/{run_id}/metrics/series?keys=loss&max_points=1000"
        _check_buckets(call(server.port, "GET", path), count)
        measured = get(server, path, bench.pace)
        by_time = get(server, f"{path}&x=time", bench.pace)
        alone = _statement_alone(bench, server, run_id)
    what = f"1,000 buckets of a series of {count:,} points, p95"
    taken = statistics.median(1000 / rate for rate in measured.rates)
    return [
        compared(f"1,000 buckets of a series of {count:,} points", taken, "ms",
                "its statement and orjson alone", statistics.median(alone), at_least=1 / 1.5,
                less_is_better=True, samples=[1000 / rate for rate in measured.rates],
                limit_samples=alone),
        Row(what, measured.p95_ms, "ms", at_most=25, samples=measured.p95s_ms,
            note=f"a core's time for a request: {measured.cpu_per_response}"),
        Row(f"{what}, by time", by_time.p95_ms, "ms", samples=by_time.p95s_ms),
    ]  # fmt: skip


def _statement_alone(bench: Bench, server: Server, run_id: str) -> list[float]:
    """Milliseconds that the prepared statement of the buckets and orjson take in this process."""
    os.environ["DATABASE_URL"] = server.cluster.url(server.database)
    return list(map(float, subprocess.run(
        [sys.executable, "-m", "benchmarks.statement", run_id, str(bench.pace.repetitions)],
        check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    ).stdout.split()))  # fmt: skip


def _check_buckets(response: Any, count: int) -> None:
    """Check that there are at most 1,000 buckets and that they contain every point."""
    text = orjson.dumps(response).decode()
    buckets = response["items"][0]
    counts = buckets.get("count") or buckets.get("counts") or []
    if counts and (len(counts) > 1000 or sum(counts) != count):
        raise RuntimeError(f"Expected {count} points in at most 1,000 buckets: {text[:300]}")


# --- lists and searches ----------------------------------------------------------------------


def run_list(bench: Bench) -> list[Row]:
    runs, metrics = bench.size(100_000, 2_000), bench.size(200, 20)
    with bench.trainhub() as server:
        project_id, run_id = full_run(server, metrics)
        clone_runs(server, run_id, runs - 1, series=bench.all_series)
        path = f"/projects/{project_id}/runs?page={{page}}&page_size=50"
        pages = {page: get(server, path.format(page=page), bench.pace) for page in (1, runs // 50)}
        with server.cluster.statements() as statements:
            response = call(server.port, "GET", path.format(page=1))
    items = response["items"] if isinstance(response, dict) else response
    if len(items) != 50 or any(len(run["metrics"]) != metrics for run in items):
        raise RuntimeError(f"Expected 50 runs with {metrics} metrics each.")
    what = f"list of 50 runs of {runs:,} with {metrics} metrics each"
    first, last = pages.values()
    return [
        Row(f"{what}, p95", first.p95_ms, "ms", at_most=30, samples=first.p95s_ms,
            note=f"a core's time for a request: {first.cpu_per_response}"),
        Row(f"{what}, last page, p95", last.p95_ms, "ms", samples=last.p95s_ms),
        Row(f"{what}, queries", len(statements), "", at_most=4),
    ]  # fmt: skip


def search(bench: Bench) -> list[Row]:
    runs = bench.size(20_000, 1_000)
    measured = {}
    for name, server in bench.ours_and_peers():
        experiment_id, run_id = full_run(server)
        clone_runs(server, run_id, runs - 1)
        measured[name] = _search(server, experiment_id, bench.pace)
    ours = measured["ours"]
    what = (
        f"runs/search over {runs:,} runs of {METRICS} metrics: metrics.m > 0.5, ordered by another "
        "metric, the first 100, 1 connection"
    )
    return [
        compared(
            what,
            ours.rate,
            "/s",
            name,
            measured[name].rate,
            at_least=at_least,
            samples=ours.rates,
            limit_samples=measured[name].rates,
            note=f"p95 {ours.p95_ms:.1f} ms, baseline {measured[name].p95_ms:.1f} ms",
        )
        for name, at_least in (("MLflow", 5.0), ("FastTrackML", 1.5))
    ]


def _search(server: Server, experiment_id: str, pace: Pace) -> Measured:
    filtered, ordering = bodies.metric_names(2)
    query = {
        "experiment_ids": [experiment_id],
        "filter": f"metrics.`{filtered}` > 0.5",
        "order_by": [f"metrics.`{ordering}` DESC"],
        "max_results": 100,
    }
    runs = server.post("runs/search", query)["runs"]
    values = [_metrics(run)[ordering] for run in runs]
    if len(runs) != 100 or values != sorted(values, reverse=True):
        raise RuntimeError(f"{server.name} returned {len(runs)} runs, or in the wrong order.")
    if any(_metrics(run)[filtered] <= 0.5 for run in runs):
        raise RuntimeError(f"{server.name} returned runs that do not match.")
    message = request("POST", f"{API}runs/search", orjson.dumps(query))
    return measure(server.port, [repeat(message)], pace, watched=server.watched())


def _metrics(run: Any) -> dict[str, float]:
    return {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}


# --- the log ---------------------------------------------------------------------------------


def logs(bench: Bench) -> list[Row]:
    """Run benchmarks/logs.py on a server of this benchmark."""
    with bench.trainhub() as server:
        os.environ |= {
            "DATABASE_URL": server.cluster.url(server.database),
            "TRAINHUB_DATA_DIR": str(bench.directory / "trainhub"),
            "DJANGO_SETTINGS_MODULE": "trainhub.settings",
        }
        django.setup()
        measured = log_benchmark.measure(
            server.url,
            long_log=bench.size(10_000_000, 20_000),
            searched_log=bench.size(1_000_000, 20_000),
        )
        connections.close_all()
    return [row for line in measured for row in _log_rows(line)]


def _log_rows(line: log_benchmark.Row) -> list[Row]:
    """Convert a row of benchmarks/logs.py, whose name contains the reference of its ratio."""
    what, _divided, other = line.what.partition("÷")
    what, other = what.rstrip(" ("), other.strip(" )")
    if line.bar is not None:
        page = Row(what, line.value, line.unit, at_most=line.bar)
        if line.ratio is None:
            return [page]
        at_most = 1.5 if what.startswith("last page") else None
        return [page, Row(f"{what}, ÷ {other}", line.ratio, "×", at_most=at_most)]
    if line.ratio is None:
        return [Row(what, line.value, line.unit)]
    limit = line.value / line.ratio
    return [
        compared(what, line.value, line.unit, other, limit, less_is_better=line.unit != "lines/s")
    ]


SUBJECTS: Final[Subjects] = {
    "run-detail": Subject("One run read", run_detail),
    "series": Subject("A long curve read", series),
    "list": Subject("A long list of runs", run_list),
    "search": Subject("Runs searched by a metric", search),
    "logs": Subject("A long log", logs),
}
