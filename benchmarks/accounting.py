"""Times reports on goodput: python -m benchmarks.accounting REPETITIONS.

Prints JSON: milliseconds by what reports are grouped by, and "sum": of a statement that only adds
up the same rows.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import django

LIMIT = 50  # groups of a page

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainhub.settings")


def main() -> None:
    repetitions = int(sys.argv[1])
    django.setup()

    from django.db import connection

    from goodput.report_queries import Grouping
    from goodput.reports import Days, report

    today = datetime.now(UTC).date()
    days = Days(today - timedelta(days=200), today + timedelta(days=1))

    def bare_sum() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT sum(training), sum(waiting) FROM goodput_dayaccount")
            cursor.fetchall()

    def times(call: Callable[[], object]) -> list[float]:
        call()  # statements are prepared, pages are read
        took = []
        for _number in range(repetitions):
            began = time.perf_counter()
            call()
            took.append(1000 * (time.perf_counter() - began))
        return took

    ms = {by.value: times(partial(report, by, days, limit=LIMIT)) for by in Grouping}
    print(json.dumps(ms | {"sum": times(bare_sum)}))  # noqa: T201


if __name__ == "__main__":
    main()
