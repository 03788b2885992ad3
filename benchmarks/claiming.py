"""A worker that claims runs as fast as it can: python -m benchmarks.claiming NAME SECONDS SLOTS.

Prints JSON: ``claimed`` run IDs, ``ms`` of each claim, and ``bare_ms``: of as many transactions
that only take the first queued run by an index, with SKIP LOCKED, as a queue without rules would.
What was claimed is over at once, in a transaction that is not timed, so that as many runs hold GPUs
all the time.
"""

from __future__ import annotations

import json
import os
import sys
import time

import django
from django.db import transaction

WARM_UP = 5  # claims that are not measured: statements are prepared

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainhub.settings")


def main() -> None:
    name, seconds, slots = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    django.setup()

    from core.database import Statement, Texts
    from execution.scheduling.claiming import claim_ids
    from runs.models import Worker

    bare = Statement("""
WITH first AS (
    SELECT id FROM runs_run WHERE status = '排队中'
    ORDER BY priority DESC, queued_at, id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE runs_run SET updated_at = now() FROM first WHERE runs_run.id = first.id RETURNING first.id
""")
    ending = Statement("""
UPDATE runs_run SET status = '已完成', worker_id = NULL, finished_at = now(), progress = 1
WHERE id = ANY (%(runs)s::text[])
""")
    worker = Worker.objects.get(name=name)
    claimed: list[str] = []
    ms: list[float] = []
    bare_ms: list[float] = []
    claimed += [pk for _number in range(WARM_UP) for pk in claim_ids(worker, slots)]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        began = time.perf_counter()
        runs = claim_ids(worker, slots)
        ms.append(1000 * (time.perf_counter() - began))
        claimed += runs
        if not runs:
            break
        ending.run(runs=Texts(runs))
        if slots == 1:
            began = time.perf_counter()
            with transaction.atomic():
                bare.rows()
            bare_ms.append(1000 * (time.perf_counter() - began))
    print(json.dumps({"claimed": claimed, "ms": ms, "bare_ms": bare_ms}))  # noqa: T201


if __name__ == "__main__":
    main()
