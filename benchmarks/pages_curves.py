"""Long curves of a run, for the benchmarks of pages: by SQL, with the buckets of the product."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from benchmarks.bodies import START_MS
from benchmarks.database import Cluster
from benchmarks.environments import ROOT

# A loss with noise, and a spike in its middle.
SERIES: Final = """
    INSERT INTO metrics_metricseries (run_id, key, last_step, last_timestamp_ms, last_value)
    SELECT %(run)s, %(name)s || '/metric_' || lpad(k::text, 3, '0'), %(points)s,
           %(start)s + 1000 * %(points)s::bigint, 0
    FROM generate_series(0, %(metrics)s - 1) AS k
"""
POINTS: Final = """
    INSERT INTO metrics_metricpoint (series_id, step, timestamp_ms, value)
    SELECT id, n, %(start)s + 1000 * n,
           3 / (1 + n / 1000.0) + 0.1 * random() + CASE WHEN n = %(points)s / 2 THEN 5 ELSE 0 END
    FROM metrics_metricseries, generate_series(1, %(points)s::bigint) AS n
    WHERE run_id = %(run)s AND key LIKE %(name)s || '/%%'
"""
SUMMARY: Final = """
    UPDATE metrics_metricseries AS series
    SET count = told.count, minimum = told.minimum, maximum = told.maximum, last_value = told.last
    FROM (
        SELECT series_id, count(*), min(value) AS minimum, max(value) AS maximum,
               (array_agg(value ORDER BY step DESC))[1] AS last
        FROM metrics_metricpoint GROUP BY series_id
    ) AS told
    WHERE told.series_id = series.id AND series.count = 0
"""
RUN: Final = """
    UPDATE runs_run SET step = greatest(step, %(points)s), metrics = metrics || (
        SELECT jsonb_object_agg(key, last_value) FROM metrics_metricseries WHERE run_id = %(run)s
    ) WHERE id = %(run)s
"""


def fill_series(
    cluster: Cluster, database: str, run_id: str, name: str, metrics: int, points: int
) -> None:
    """Give the run ``metrics`` series, ``name``/metric_000 …, of so many points each."""
    told = {"run": run_id, "name": name, "metrics": metrics, "points": points, "start": START_MS}
    for statement in (SERIES, POINTS, SUMMARY, RUN):
        cluster.execute(database, statement, **told)


def extend_buckets(cluster: Cluster, database: str, run_id: str) -> None:
    """Sum up the points of the run's series, as the write path does with every thousand."""
    command = (
        "from metrics.buckets import extend; from metrics.models import MetricSeries;"
        f"extend('{run_id}', list(MetricSeries.objects.filter(run='{run_id}', count__gte=1024)"
        ".values_list('id', flat=True)))"
    )
    subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "shell", "--verbosity", "0", "-c", command],
        env=os.environ | {"DATABASE_URL": cluster.url(database)},
        check=True,
        cwd=ROOT,
    )
    cluster.settle(database)
