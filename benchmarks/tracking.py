"""What TrainHub adds to a step of a training that it starts, records and supervises."""

from __future__ import annotations

import statistics
from typing import Final

from benchmarks.bench import Bench, Subject, Subjects
from benchmarks.report import Row
from benchmarks.scheduling import migrated, result_of

DATABASE: Final = "overhead"
SHARE_AT_MOST: Final = 1.0  # percent


def overhead(bench: Bench) -> list[Row]:
    repetitions, steps = bench.size(10, 2), bench.size(1_000, 60)
    folder = bench.directory / "overhead"
    environment = migrated(bench, DATABASE) | {"TRAINHUB_DATA_DIR": str(folder / "data")}
    seconds = result_of("tracked", repetitions, steps, folder, environment=environment)
    bench.cluster.drop(DATABASE)
    alone, tracked = ([1000 * value for value in seconds[name]] for name in ("alone", "tracked"))
    shares = [100 * (its / own - 1) for own, its in zip(alone, tracked, strict=True)]
    low, _median, high = statistics.quantiles(shares, n=4)
    return [
        Row(
            "a step of char-lm", statistics.median(tracked), "ms", "the script by itself",
            statistics.median(alone), samples=tracked, limit_samples=alone,
        ),
        Row(
            "TrainHub's share of a step", statistics.median(shares), "%", at_most=SHARE_AT_MOST,
            note=f"the median of {repetitions} pairs of {steps:,} steps; half of them between "
            f"{low:+.1f} % and {high:+.1f} %",
        ),
    ]  # fmt: skip


SUBJECTS: Final[Subjects] = {
    "overhead": Subject("char-lm by itself, and as a run of TrainHub", overhead),
}
