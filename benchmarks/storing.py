"""Stores as the server does: python -m benchmarks.storing POINTS LINES RUNS, all of one run but for
the runs.

Prints JSON: how many of each there are, and how many bytes the data of one are.
"""

from __future__ import annotations

import json
import os
import random
import sys

import django

METRICS = 20
BATCH = 10_000

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainhub.settings")


def main() -> None:
    points, lines, runs = map(int, sys.argv[1:])
    django.setup()

    from django.db import connection, transaction

    from benchmarks.logs import lines_from
    from logs.appending import append_log
    from metrics.points import Points
    from metrics.recording import record_points
    from projects.models import Project
    from runs.actions import create_run
    from runs.models import Run

    project = Project.objects.create(name="sizes")
    created = [
        create_run(project, by=None, hyperparameters={"lr": number / 1e6, "batch_size": 32})
        for number in range(runs)
    ]
    run = created[0]
    rnd = random.Random(1)
    keys = [f"metric_{number}" for number in range(METRICS)]
    per_batch = BATCH // METRICS
    for first in range(0, points // METRICS, per_batch):
        steps = range(first, min(first + per_batch, points // METRICS))
        rows = [(key, step) for step in steps for key in keys]
        record_points(
            run.pk,
            Points.in_columns(
                [key for key, _step in rows],
                [step for _key, step in rows],
                [1_760_000_000_000 + 500 * step for _key, step in rows],
                [rnd.random() for _row in rows],
            ),
        )
    for first in range(0, lines, BATCH):
        with transaction.atomic():
            append_log(Run.objects.lock(run.pk), lines_from(first, min(BATCH, lines - first)))
    with connection.cursor() as cursor:
        cursor.execute("SELECT avg(length(message)) FROM logs_logline")
        (line_bytes,) = cursor.fetchone()
    counts = {"a point": points, "a log line": lines, "a run": runs}
    alone = {"a point alone": 24, "a log line alone": float(line_bytes)}  # step, time, value
    print(json.dumps(counts | alone))  # noqa: T201


if __name__ == "__main__":
    main()
