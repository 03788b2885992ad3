"""A project of many ended runs with hyperparameters and metrics, for the benchmarks of pages.

Written by SQL, in minutes; rows are copies of one that the server created, so every column has the
value that the server sets.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from benchmarks.bodies import START_MS
from benchmarks.database import Cluster
from benchmarks.environments import ROOT
from benchmarks.servers import Server

# What differs among the runs of a sweep; the others of their hyperparameters are all the same.
SWEPT: Final = {
    "lr": "(ARRAY['1e-5', '3e-5', '1e-4', '3e-4', '1e-3', '3e-3'])[1 + i %% 6]",
    "batch_size": "(8 << (i / 7 %% 6))::text",
    "optimizer": "(ARRAY['adamw', 'lion', 'muon'])[1 + i / 11 %% 3]",
    "warmup_steps": "(100 * (i / 13 %% 10))::text",
    "weight_decay": "round((i::bigint * 7919 %% 10007)::numeric / 100070, 6)::text",
    "seed": "i::text",
}
METRICS: Final = (
    *("train/loss", "train/grad_norm", "train/learning_rate", "train/tokens_per_second"),
    *("eval_loss", "eval/accuracy", "eval/perplexity", "eval/f1", "eval/bleu", "eval/rouge_l"),
)
EPOCH: Final = f"to_timestamp({START_MS} / 1000)"
RUN_ID: Final = "'run_' || left(md5(%(project_id)s || i), 12)"
# The last value of metric number k of run number i: from 0.5 to 4.5, evenly distributed.
VALUE: Final = "(0.5 + 4 * ((i::bigint * 7919 * (k + 3)) %% 100003) / 100003::float8)"

RUNS: Final = f"""
    INSERT INTO runs_run
    SELECT made.*
    FROM
        runs_run AS run, generate_series(%(first)s::int, %(last)s::int) AS i,
        LATERAL jsonb_populate_record(run, jsonb_build_object(
            'id', {RUN_ID},
            'name', 'sweep-' || lpad(i::text, 6, '0'),
            'status', (ARRAY['已完成', '已完成', '已完成', '已失败', '已取消'])[1 + i %% 5],
            'created_at', {EPOCH} - i * interval '1 minute',
            'started_at', {EPOCH} - i * interval '1 minute' + interval '5 seconds',
            'finished_at',
            {EPOCH} - i * interval '1 minute' + (600 + i %% 3000) * interval '1 second',
            'is_indexed', false,
            'hyperparameters', run.hyperparameters || jsonb_build_object({{swept}}),
            'metrics', (
                SELECT jsonb_object_agg(key, {VALUE})
                FROM unnest(%(metrics)s::text[]) WITH ORDINALITY AS names (key, k)
            )
        )) AS made
    WHERE run.id = %(run_id)s
"""
SERIES: Final = f"""
    INSERT INTO metrics_metricseries
        (run_id, key, count, minimum, maximum, last_step, last_timestamp_ms, last_value)
    SELECT
        {RUN_ID}, key, %(points)s::int, {VALUE}, {VALUE} + %(points)s::int - 1,
        100 * %(points)s::int, {START_MS} + 1000 * %(points)s::int, {VALUE}
    FROM
        generate_series(%(first)s::int, %(last)s::int) AS i,
        unnest(%(metrics)s::text[]) WITH ORDINALITY AS names (key, k)
"""
# Each falls by 1 with every point.
POINTS: Final = """
    INSERT INTO metrics_metricpoint (series_id, step, timestamp_ms, value)
    SELECT
        series.id, 100 * n, last_timestamp_ms - 1000 * (count - n), last_value + count - n
    FROM
        metrics_metricseries AS series JOIN runs_run AS run ON run.id = series.run_id,
        generate_series(1, count) AS n
    WHERE run.project_id = %(project_id)s AND run.id <> %(run_id)s
"""
RUNS_PER_INSERT: Final = 10_000


def fill_project(server: Server, *, runs: int = 100_000, params: int = 40, points: int = 3) -> str:
    """Create a project of that many ended runs, each with METRICS of so many points and as many
    hyperparameters; return its ID."""
    project_id = server.new_experiment()
    run_id = server.new_run(project_id)
    same = [
        {"key": f"model/option_{number:02d}", "value": f"{number}.5"}
        for number in range(params - len(SWEPT))
    ]
    server.post("runs/log-batch", {"run_id": run_id, "params": same})
    server.post("runs/update", {"run_id": run_id, "status": "FINISHED"})
    fill(server.cluster, server.database, project_id, run_id, runs=runs, points=points)
    index_all(server.cluster, server.database)
    return project_id


def fill(
    cluster: Cluster, database: str, project_id: str, run_id: str, *, runs: int, points: int
) -> None:
    """Clone the run, which has ended, ``runs`` times."""
    swept = ", ".join(f"'{name}', {value}" for name, value in SWEPT.items())
    for first in range(1, runs + 1, RUNS_PER_INSERT):
        some = {
            "first": first,
            "project_id": project_id,
            "last": min(runs, first + RUNS_PER_INSERT - 1),
            "metrics": list(METRICS),
        }
        cluster.fill(database, RUNS.format(swept=swept), run_id=run_id, **some)
        cluster.fill(database, SERIES, points=points, **some)
    cluster.fill(database, POINTS, project_id=project_id, run_id=run_id)


def index_all(cluster: Cluster, database: str) -> None:
    """Index the runs, as a worker does once they have ended."""
    command = "from metrics.run_index import index_runs; index_runs(seconds=3600)"
    subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "shell", "--verbosity", "0", "-c", command],
        env=os.environ | {"DATABASE_URL": cluster.url(database)},
        check=True,
        cwd=ROOT,
    )
    cluster.settle(database)
