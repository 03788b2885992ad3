"""What things take on disk, with their indexes: a point, a log line, a run."""

from __future__ import annotations

from typing import Final

from benchmarks.bench import Bench, Subject, Subjects
from benchmarks.report import Row
from benchmarks.scheduling import migrated, result_of

DATABASE: Final = "sizes"
SIZES: Final = """
SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
WHERE relkind = 'r' AND relname LIKE %(name)s
"""


def sizes(bench: Bench) -> list[Row]:
    cluster = bench.cluster
    environment = migrated(bench, DATABASE)
    names = {"a point": "metrics\\_%", "a log line": "logs\\_%", "a run": "runs\\_%"}
    before = {what: cluster.value(DATABASE, SIZES, name=name) for what, name in names.items()}
    counts = result_of(
        "storing", bench.size(2_000_000, 20_000), bench.size(1_000_000, 10_000),
        bench.size(10_000, 100), environment=environment,
    )  # fmt: skip
    cluster.settle(DATABASE)
    rows = [
        Row(
            f"{what}, on disk",
            (cluster.value(DATABASE, SIZES, name=name) - before[what]) / counts[what],
            "bytes",
            "its data alone" if what != "a run" else "",
            counts.get(f"{what} alone"),
        )
        for what, name in names.items()
    ]
    cluster.drop(DATABASE)
    return rows


SUBJECTS: Final[Subjects] = {
    "sizes": Subject("What things take on disk, with indexes and summaries", sizes),
}
