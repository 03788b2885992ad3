"""Write benchmarks: batches and single points, compared with other servers and COPY."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks import bodies
from benchmarks.bench import Bench, Subject, Subjects
from benchmarks.client import Measured, Pace, measure
from benchmarks.cloning import METRICS, clone_runs, full_run
from benchmarks.processes import MemorySampler
from benchmarks.report import Row, compared
from benchmarks.servers import Server

CONNECTIONS: Final = 4
RANKS: Final = {4: None, 8: 1.5}  # connections into one run, and the bar of FastTrackML's rate
# Keys and steps of a batch of a thousand points: a training run that reports occasionally, and one
# that reports many metrics per step.
NARROW: Final = (20, 50)
WIDE: Final = (1000, 1)


@dataclass(frozen=True, slots=True)
class Written:
    """Points per second."""

    measured: Measured
    points_per_request: int

    @property
    def rate(self) -> float:
        return self.measured.rate * self.points_per_request

    @property
    def samples(self) -> list[float]:
        return [rate * self.points_per_request for rate in self.measured.rates]

    @property
    def note(self) -> str:
        return f"a core's time for a request: {self.measured.cpu_per_response}"


def write(
    server: Server,
    feeds: Sequence[Iterator[bytes]],
    pace: Pace,
    *,
    points_per_request: int = 1,
    quickack: bool = True,
) -> Written:
    """Send the load and check that every acknowledged point is stored."""
    before = server.stored_points()
    measured = measure(server.port, feeds, pace, quickack=quickack, watched=server.watched())
    stored = server.stored_points() - before
    if stored != measured.responses * points_per_request:
        raise RuntimeError(
            f"{server.name} acknowledged {measured.responses * points_per_request} points and "
            f"stored {stored}."
        )
    return Written(measured, points_per_request)


def write_batches(
    bench: Bench, server: Server, shape: tuple[int, int], *, quickack: bool = True
) -> Written:
    keys, steps = shape
    names = bodies.metric_names(keys)
    feeds = [bodies.log_batch(run_id, names, steps) for run_id in server.new_runs(CONNECTIONS)]
    return write(server, feeds, bench.pace, points_per_request=1000, quickack=quickack)


# --- batches ---------------------------------------------------------------------------------


def log_batch(bench: Bench) -> list[Row]:
    with bench.trainhub() as server:
        ours = write_batches(bench, server, NARROW)
        ours_wide = write_batches(bench, server, WIDE)
        copied = _copy(bench, server)
    with bench.fasttrackml() as server:
        fasttrackml = write_batches(bench, server, NARROW)
        fasttrackml_wide = write_batches(bench, server, WIDE)
    with bench.mlflow() as server:
        mlflow = write_batches(bench, server, NARROW)
        mlflow_wide = write_batches(bench, server, WIDE)
    with bench.mlflow(jobs=True) as server:
        shipped = write_batches(bench, server, NARROW, quickack=False)
    what = "points/s, batches of 20 keys × 50 steps, 4 connections"
    what_wide = "points/s, batches of 1,000 keys × 1 step, 4 connections"
    return [
        _compared(what, ours, "MLflow", mlflow, at_least=10, note=ours.note),
        _compared(what, ours, "MLflow as shipped, plain client", shipped),
        _compared(what, ours, "FastTrackML", fasttrackml, at_least=2),
        compared(
            what,
            ours.rate,
            "/s",
            "COPY",
            statistics.median(copied),
            samples=ours.samples,
            limit_samples=copied,
        ),
        _compared(what_wide, ours_wide, "MLflow", mlflow_wide, at_least=10, note=ours_wide.note),
        _compared(what_wide, ours_wide, "FastTrackML", fasttrackml_wide, at_least=2),
    ]


def _compared(
    what: str,
    ours: Written,
    name: str,
    theirs: Written,
    *,
    at_least: float | None = None,
    note: str = "",
) -> Row:
    return compared(
        what,
        ours.rate,
        "/s",
        name,
        theirs.rate,
        at_least=at_least,
        samples=ours.samples,
        limit_samples=theirs.samples,
        note=note,
    )


def _copy(bench: Bench, server: Server, *, turn: int = 0) -> list[float]:
    """Rows per second by COPY into the table of TrainHub's points, in the order of batches."""
    count, rates = bench.size(500_000, 20_000), []
    rnd = random.Random(0)
    keys, _steps = NARROW
    for repetition in range(bench.pace.repetitions):
        first = repetition * count // keys
        rows = "".join(
            f"{10**12 + turn * keys + key}\t{step}\t{bodies.START_MS + step}\t{rnd.random()!r}\n"
            for step in range(first, first + count // keys)
            for key in range(keys)
        ).encode()
        columns = "series_id, step, timestamp_ms, value"
        with server.cluster.connect(server.database) as connection:
            started = time.perf_counter()
            with connection.cursor().copy(
                f"COPY metrics_metricpoint ({columns}) FROM STDIN"
            ) as copy:
                copy.write(rows)
            rates.append(count / (time.perf_counter() - started))
    return rates


def rest_batch(bench: Bench) -> list[Row]:
    """Compare our own endpoint with log-batch, alternating because the two are close."""
    keys, steps = NARROW
    names = bodies.metric_names(keys)
    with bench.trainhub() as server:
        project_id = server.new_experiment()
        protocol, rest = [], []
        for _turn in range(bench.size(2, 1)):
            protocol.append(write_batches(bench, server, NARROW))
            run_ids = [server.new_run(project_id) for _ in range(CONNECTIONS)]
            feeds = [bodies.rest_batch(project_id, run_id, names, steps) for run_id in run_ids]
            rest.append(write(server, feeds, bench.pace, points_per_request=1000))
    ours, theirs = _all_samples(rest), _all_samples(protocol)
    return [
        compared(
            "points/s through POST …/runs/{id}/metrics, the same batches",
            statistics.median(ours),
            "/s",
            "log-batch",
            statistics.median(theirs),
            at_least=1,
            samples=ours,
            limit_samples=theirs,
            note=f"{rest[-1].note}; for one of log-batch: {protocol[-1].measured.cpu_per_response}",
        )
    ]


def rest_columns(bench: Bench) -> list[Row]:
    """The same batches in columns, alternating with COPY of the same rows."""
    keys, steps = NARROW
    names = bodies.metric_names(keys)
    with bench.trainhub() as server:
        project_id = server.new_experiment()
        written, copied = [], []
        for turn in range(bench.size(2, 1)):
            run_ids = [server.new_run(project_id) for _ in range(CONNECTIONS)]
            feeds = [bodies.rest_columns(project_id, run_id, names, steps) for run_id in run_ids]
            written.append(write(server, feeds, bench.pace, points_per_request=1000))
            copied += _copy(bench, server, turn=turn)
    ours = _all_samples(written)
    return [
        compared(
            "points/s through POST …/runs/{id}/metrics, the same batches in columns",
            statistics.median(ours),
            "/s",
            "COPY",
            statistics.median(copied),
            at_least=0.6,
            samples=ours,
            limit_samples=copied,
            note=written[-1].note,
        )
    ]


def _all_samples(turns: Sequence[Written]) -> list[float]:
    return [rate for written in turns for rate in written.samples]


# --- single points ---------------------------------------------------------------------------


def log_metric(bench: Bench) -> list[Row]:
    with bench.trainhub() as server:
        ours = _write_singles(bench, server)
    with bench.fasttrackml() as server:
        fasttrackml = _write_singles(bench, server)
    with bench.mlflow() as server:
        mlflow = _write_singles(bench, server)
    with bench.mlflow(jobs=True) as server:
        shipped = _write_singles(bench, server, quickack=False)
    what = "single points/s, 4 connections on 4 runs"
    return [
        _compared(what, ours, "MLflow", mlflow, at_least=20, note=ours.note),
        _compared(what, ours, "MLflow as shipped, plain client", shipped),
        _compared(what, ours, "FastTrackML", fasttrackml, at_least=2, note=fasttrackml.note),
    ]


def ranks(bench: Bench) -> list[Row]:
    """Many ranks that log into one run."""
    with bench.trainhub() as server:
        ours = {count: _write_singles(bench, server, ranks=count) for count in RANKS}
    with bench.fasttrackml() as server:
        theirs = {count: _write_singles(bench, server, ranks=count) for count in RANKS}
    return [
        _compared(
            f"single points/s, {count} connections on one run",
            ours[count],
            "FastTrackML",
            theirs[count],
            at_least=at_least,
            note=f"{ours[count].note}; FastTrackML: {theirs[count].measured.cpu_per_response}",
        )
        for count, at_least in RANKS.items()
    ]


def _write_singles(
    bench: Bench, server: Server, *, ranks: int = 0, quickack: bool = True
) -> Written:
    """Each connection logs into a run of its own, or, as one of ``ranks``, a metric of its own."""
    run_ids = server.new_runs(1) * ranks if ranks else server.new_runs(CONNECTIONS)
    feeds = [
        bodies.log_metric(run_id, key=f"rank{rank}/loss") for rank, run_id in enumerate(run_ids)
    ]
    return write(server, feeds, bench.pace, quickack=quickack)


# --- big tables and long pushes --------------------------------------------------------------


def volume(bench: Bench) -> list[Row]:
    stored = bench.size(bench.points, min(bench.points, 100_000))
    with bench.trainhub() as server:
        empty = write_batches(bench, server, NARROW)
        stored = _store(server, stored)
        full = write_batches(bench, server, NARROW)
    return [
        _compared(f"points/s when {stored:,} points are stored", full, "when empty", empty,
                at_least=0.8, note=full.note)
    ]  # fmt: skip


def _store(server: Server, count: int) -> int:
    """Store points of other runs, 500 per metric; return how many."""
    runs = count // (500 * METRICS)
    project_id, run_id = full_run(server)
    clone_runs(server, run_id, runs)
    server.cluster.execute(
        server.database,
        """
        INSERT INTO metrics_metricpoint (series_id, step, timestamp_ms, value)
        SELECT series.id, at, %(start)s::bigint + 1000 * at, random()
        FROM runs_run AS run JOIN metrics_metricseries AS series ON series.run_id = run.id,
            generate_series(1, 500) AS at
        WHERE run.project_id = %(project_id)s AND run.id <> %(run_id)s
        """,
        start=bodies.START_MS,
        project_id=project_id,
        run_id=run_id,
    )
    server.cluster.settle(server.database)
    return runs * METRICS * 500


def memory(bench: Bench) -> list[Row]:
    seconds = bench.size(60, 8)
    pace = Pace(repetitions=1, seconds=seconds, warm_up_seconds=3)
    with bench.trainhub() as server:
        keys, steps = NARROW
        names = bodies.metric_names(keys)
        feeds = [bodies.log_batch(run_id, names, steps) for run_id in server.new_runs(8)]
        with MemorySampler(server.pid) as sampler:
            written = write(server, feeds, pace, points_per_request=1000)
    greatest = max(max(samples) for samples in sampler.rss_mb.values())
    growth = max(_growth(samples) for samples in sampler.rss_mb.values())
    sent = f"8 clients, {written.rate:,.0f} points/s for {seconds} s"
    return [
        Row(f"memory of the largest server process: {sent}", greatest, "MB", at_most=300),
        Row("its last quarter ÷ its first, of the process that grew most", growth, "×",
            at_most=1.05),
    ]  # fmt: skip


def _growth(samples: list[float]) -> float:
    quarter = max(1, len(samples) // 4)
    return statistics.median(samples[-quarter:]) / statistics.median(samples[:quarter])


SUBJECTS: Final[Subjects] = {
    "log-batch": Subject("Batches of points, lean client", log_batch),
    "rest-batch": Subject("Batches of points through TrainHub's own endpoint", rest_batch),
    "rest-columns": Subject("Batches of points in columns", rest_columns),
    "log-metric": Subject("Single points, lean client", log_metric),
    "ranks": Subject("Single points of many ranks into one run, lean client", ranks),
    "volume": Subject("Batches of points into a big table", volume),
    "memory": Subject("The server's memory while clients push", memory),
}
