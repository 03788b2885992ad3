"""Clone a run that was created through the API many times, with other values: by SQL, in seconds.

Rows are full copies of real ones, so every column has the value that the server sets.
"""

from __future__ import annotations

from typing import Final

from benchmarks import bodies
from benchmarks.servers import Server

METRICS: Final = 20  # per run, by default
PARAMS: Final = 5

# The value of a metric in run number i: evenly distributed over 0 … 1, the same on every server.
# k is the number at the end of the metric's name.
VALUE: Final = "((i::bigint * 7919 * (k + 3)) %% 10007) / 10007::float8"
NUMBERED: Final = "LATERAL (SELECT substring(key from '[0-9]+$')::int AS k) AS numbered"
RUNS: Final = "generate_series(1, %(count)s) AS i"


def full_run(server: Server, metrics: int = METRICS) -> tuple[str, str]:
    """Create a run with params and one point per metric; return its experiment id and run id."""
    experiment_id = server.new_experiment()
    run_id = server.new_run(experiment_id)
    params = [{"key": f"param_{number}", "value": f"{number}.5"} for number in range(PARAMS)]
    points = [
        {"key": name, "value": 0.5, "step": 1, "timestamp": bodies.START_MS}
        for name in bodies.metric_names(metrics)
    ]
    server.post("runs/log-batch", {"run_id": run_id, "metrics": points, "params": params})
    return experiment_id, run_id


def clone_runs(server: Server, run_id: str, count: int, *, series: bool = True) -> None:
    """Add ``count`` runs to the same experiment, each a second older than the last.

    ``series``: also copy the rows of their metrics; without it, TrainHub's runs have metrics only
    in their own row (which lists read).
    """
    for table, statement in (TRAINHUB if server.name == "TrainHub" else PEERS).items():
        if table != "metrics_metricseries" or series:
            server.cluster.fill(server.database, statement, run_id=run_id, count=count)
    server.cluster.settle(server.database)


TRAINHUB: Final = {
    "runs_run": f"""
        INSERT INTO runs_run
        SELECT made.*
        FROM runs_run AS run, {RUNS}, LATERAL jsonb_populate_record(run, jsonb_build_object(
            'id', 'run_' || lpad(i::text, 12, '0'),
            'name', 'run-' || i,
            'created_at', run.created_at - i * interval '1 second',
            'started_at', run.started_at - i * interval '1 second',
            'metrics', (
                SELECT jsonb_object_agg(key, {VALUE})
                FROM jsonb_object_keys(run.metrics) AS key, {NUMBERED}
            )
        )) AS made
        WHERE run.id = %(run_id)s
    """,
    "metrics_metricseries": f"""
        INSERT INTO metrics_metricseries
        SELECT made.*
        FROM metrics_metricseries AS series, {NUMBERED}, {RUNS},
            LATERAL jsonb_populate_record(series, jsonb_build_object(
                'id', nextval(pg_get_serial_sequence('metrics_metricseries', 'id')),
                'run_id', 'run_' || lpad(i::text, 12, '0'),
                'minimum', {VALUE}, 'maximum', {VALUE}, 'last_value', {VALUE}
            )) AS made
        WHERE series.run_id = %(run_id)s
    """,
}

PEERS: Final = {
    "runs": f"""
        INSERT INTO runs
        SELECT made.*
        FROM runs AS run, {RUNS}, LATERAL jsonb_populate_record(run, jsonb_build_object(
            'run_uuid', md5(i::text),
            'name', 'run-' || i,
            'start_time', run.start_time - 1000 * i,
            'row_num', i  -- only in FastTrackML
        )) AS made
        WHERE run.run_uuid = %(run_id)s
    """,
    "latest_metrics": f"""
        INSERT INTO latest_metrics
        SELECT made.*
        FROM latest_metrics AS metric, {NUMBERED}, {RUNS},
            LATERAL jsonb_populate_record(metric, jsonb_build_object(
                'run_uuid', md5(i::text), 'value', {VALUE}
            )) AS made
        WHERE metric.run_uuid = %(run_id)s
    """,
    **{
        table: f"""
        INSERT INTO {table}
        SELECT made.*
        FROM {table} AS entry, {RUNS},
            LATERAL jsonb_populate_record(entry, jsonb_build_object('run_uuid', md5(i::text)))
                AS made
        WHERE entry.run_uuid = %(run_id)s
        """
        for table in ("params", "tags")
    },
}
