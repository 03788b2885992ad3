"""Where the GPU-hours of 100,000 runs went: the report of the page and of the REST API."""

from __future__ import annotations

import statistics
from typing import Final

from benchmarks.bench import Bench, Subject, Subjects
from benchmarks.report import Row
from benchmarks.scheduling import DATABASE, queue_of, result_of

# Of every run that is over: one day or, for one run of six, two to four.
FILL: Final = """
INSERT INTO goodput_dayaccount (
    run_id, day, project_id, created_by_id, pool, gpu_count, is_first, training, repeated, saving,
    evaluating, starting, stalled, stopping, down, waiting, measured, idle, updated_at
)
SELECT
    id, queued_at::date + later, project_id, NULL, pool, gpu_count, later = 0,
    (random() * 6e10)::bigint, (random() * 1e9)::bigint, (random() * 1e8)::bigint, 0, 10000000, 0,
    0, 1000000, (random() * 1e9)::bigint, 60000000000, (random() * 1e10)::bigint, now()
FROM runs_run, LATERAL generate_series(0, CASE WHEN hashtext(id) % 6 = 0 THEN 1 + abs(hashtext(name
    || id)) % 3 ELSE 0 END) AS later
WHERE status = '已完成'
"""
SPREAD: Final = """
UPDATE runs_run SET queued_at = now() - random() * interval '180 days', is_accounted = true
WHERE status = '已完成'
"""


def goodput(bench: Bench) -> list[Row]:
    count = bench.size(100_000, 1_000)
    with queue_of(bench, count) as environment:
        bench.cluster.fill(DATABASE, SPREAD)
        bench.cluster.fill(DATABASE, FILL)
        bench.cluster.settle(DATABASE)
        ms = result_of("accounting", bench.size(15, 3), environment=environment)
    return [
        Row(f"report of {count:,} runs by {by}, median", statistics.median(took), "ms",
            "one sequential sum of the same rows", statistics.median(ms["sum"]), samples=took)
        for by, took in ms.items() if by != "sum"
    ]  # fmt: skip


SUBJECTS: Final[Subjects] = {
    "goodput": Subject("Where the GPU-hours went: half a year of 100,000 runs", goodput),
}
