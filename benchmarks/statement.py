"""Time the statement that reads the buckets of a curve, with orjson, and nothing else.

python -m benchmarks.statement RUN_ID REPETITIONS, with DATABASE_URL. Prints the milliseconds of
each repetition: what reading a curve takes at least.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Final

import django
import orjson

CALLS: Final = 100  # in a repetition


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainhub.settings")
    django.setup()
    from metrics import reading, series_queries

    run_id, repetitions = sys.argv[1:]
    [row] = series_queries.stored_series(run_id, ["loss"])
    whole = (reading.FIRST_STEP, reading.LAST_STEP)
    stored = reading._stored_buckets(row, *whole, 1000)

    def read() -> bytes:
        rows = series_queries.series_buckets(
            row.id, from_step=whole[0], to_step=whole[1], buckets=1000, by_time=False, **stored
        )
        return orjson.dumps(rows)

    for repetition in range(int(repetitions) + 1):
        started = time.perf_counter()
        for _call in range(CALLS):
            read()
        if repetition:  # the first warms up
            sys.stdout.write(f"{1000 * (time.perf_counter() - started) / CALLS}\n")


if __name__ == "__main__":
    main()
