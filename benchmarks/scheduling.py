"""Claims from a long queue, next to the bare statement that any queue in this table needs."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from benchmarks.bench import Bench, Subject, Subjects
from benchmarks.claiming import WARM_UP
from benchmarks.environments import ROOT
from benchmarks.report import Row

DATABASE: Final = "scheduling"
WORKERS: Final = 4
BATCH: Final = 8  # runs that a worker claims at once
PROJECTS: Final = 50
GPUS: Final = 1_000_000  # so many that the queue never blocks
# Runs of 50 projects, in an order that no index has: {prefix}, their {status} and other columns.
FILL: Final = """
INSERT INTO runs_run (
    id, project_id, project_version, name, recipe_id, model, dataset, hyperparameters, gpu_type,
    gpu_count, pool, priority, tags, status, status_reason, stop_kind, progress, step, total_steps,
    metrics, log_count, start_step, attempt, restart_count, max_restarts, script_tokens,
    executor_state, created_at, queued_at, updated_at, started_at, finished_at, held_seconds,
    held_since, attempt_started_at, worker_id, expected_seconds
)
SELECT
    'run_{prefix}' || lpad(i::text, 11, '0'), 'proj_' || lpad((i % {projects})::text, 12, '0'), 1,
    'r', 'claimed', '', '', '{{}}', 'A100', (ARRAY[1, 1, 1, 2, 4, 8, 16, 64])[1 + i % 8], 'A100',
    i % 3, '{{}}', '{status}', '', '', 0, 0, 1000, '{{}}', 0, 0, 1, 0, 3, '{{}}', '{{}}', at, at,
    at, {columns}
FROM (SELECT i, now() - i * interval '1 s' AS at FROM generate_series(1, {count}) AS i) AS row
"""
OVER: Final = "at, at, 100, NULL, at, NULL, NULL"
HELD: Final = "at, NULL, 0, at, at, 'worker_000000000000', 3600"
QUEUED: Final = "NULL, NULL, NULL, NULL, NULL, NULL, 600 + i % 5000"


def migrated(bench: Bench, database: str) -> dict[str, str]:
    """The environment of a process on a new database with TrainHub's tables."""
    bench.cluster.drop(database)
    bench.cluster.create(database)
    environment = {**os.environ, "DATABASE_URL": bench.cluster.url(database)}
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        env=environment, cwd=ROOT, check=True,
    )  # fmt: skip
    return environment


def result_of(module: str, *arguments: object, environment: dict[str, str]) -> Any:
    """What ``python -m benchmarks.MODULE`` prints, from JSON."""
    return _result(_process(module, *arguments, environment=environment))


@contextmanager
def queue_of(bench: Bench, finished: int) -> Iterator[dict[str, str]]:
    """A database with 10,000 queued, 500 running and ``finished`` runs; the environment of a worker
    on it."""
    cluster = bench.cluster
    environment = migrated(bench, DATABASE)
    cluster.execute(
        DATABASE,
        f"""
INSERT INTO runs_recipe (
    name, description, executor, command, environment, default_hyperparameters, gpu_type, gpu_count,
    stop_grace_seconds, max_restarts, is_default, enabled
) VALUES ('claimed', '', 'simulated', '{{}}', '{{}}', '{{}}', '', 0, 10, 3, false, true);
INSERT INTO runs_gpupool (
    name, gpu_type, capacity, executor, cluster, hosts, reserve, is_discovered
) VALUES ('A100', 'A100', {GPUS}, '', '', '{{}}', 0, false);
INSERT INTO projects_project (
    id, name, description, objective, task_type, base_model, owner, tags, default_hyperparameters,
    experiment_tags, status, version, run_count, created_at, updated_at
)
SELECT
    'proj_' || lpad(i::text, 12, '0'), 'p' || i, '', '', '', '', 'o' || i % 5, '{{}}', '{{}}',
    '{{}}', '进行中', 1, 0, now(), now()
FROM generate_series(0, {PROJECTS - 1}) AS i;
INSERT INTO runs_worker (
    id, name, host, pid, executors, slots, device_uuids, incarnation, started_at, last_heartbeat
)
SELECT
    'worker_' || lpad(i::text, 12, '0'), 'w' || i, 'h', 1, '{{simulated}}', 30000, '{{}}', 1, now(),
    now() + interval '1 day'
FROM generate_series(0, {WORKERS - 1}) AS i;
""",
    )
    for prefix, status, columns, count in (
        ("f", "已完成", OVER, finished),
        ("r", "运行中", HELD, bench.size(500, 50)),
        ("q", "排队中", QUEUED, bench.size(10_000, 500)),
    ):
        cluster.fill(
            DATABASE,
            FILL.format(
                prefix=prefix, status=status, columns=columns, count=count, projects=PROJECTS
            ),
        )
    cluster.execute(DATABASE, "VACUUM ANALYZE")
    cluster.execute(DATABASE, "CHECKPOINT")
    yield environment
    cluster.drop(DATABASE)


def _start(
    environment: dict[str, str], worker: int, seconds: float, slots: int
) -> subprocess.Popen[bytes]:
    return _process("claiming", f"w{worker}", seconds, slots, environment=environment)


def _process(
    module: str, *arguments: object, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)],
        env=environment, cwd=ROOT, stdout=subprocess.PIPE,
    )  # fmt: skip


def _result(process: subprocess.Popen[bytes]) -> Any:
    output, _errors = process.communicate()
    assert process.returncode == 0
    return json.loads(output)


def claims(bench: Bench) -> list[Row]:
    finished = bench.size(1_000_000, 1_000)
    seconds = bench.size(10, 1)
    with queue_of(bench, finished) as environment:
        one = _result(_start(environment, 0, seconds, 1))
        running = [
            _start(environment, number, bench.size(5, 1), BATCH) for number in range(WORKERS)
        ]
        several = [_result(process) for process in running]
    claimed = [pk for result in several for pk in result["claimed"]]
    busy = max(sum(result["ms"]) / 1000 for result in several)
    measured = len(claimed) - WORKERS * WARM_UP * BATCH
    assert len(set(claimed)) == len(claimed), "a run was claimed twice"
    p95, bare_p95 = (statistics.quantiles(one[name], n=20)[-1] for name in ("ms", "bare_ms"))
    return [
        Row(
            "one claim, p95", p95, "ms", "a bare SKIP LOCKED claim", bare_p95,
            at_most=10, note=f"{len(one['ms'])} claims",
        ),
        Row(
            "one claim, median", statistics.median(one["ms"]), "ms", "a bare SKIP LOCKED claim",
            statistics.median(one["bare_ms"]),
        ),
        Row(f"claims of {WORKERS} workers, none twice", measured / busy, "a second",
            at_least=300),
    ]  # fmt: skip


SUBJECTS: Final[Subjects] = {
    "claims": Subject("Claims: 10,000 queued, 500 running, 1,000,000 finished runs", claims),
}
