"""What a worker takes to supervise many runs at once."""

from __future__ import annotations

import statistics
from typing import Final

from benchmarks.bench import Bench, Subject, Subjects
from benchmarks.report import Row
from benchmarks.scheduling import migrated, result_of

DATABASE: Final = "ticks"
SPEEDS: Final = (1, 10)  # steps per second of each run; simulated runs take 10 by default
SECONDS_AT_MOST: Final = 1.0


def ticks(bench: Bench) -> list[Row]:
    count, passes = bench.size(500, 20), bench.size(15, 3)
    rows = []
    for speed in SPEEDS:
        environment = migrated(bench, DATABASE) | {
            "TRAINHUB_DATA_DIR": str(bench.directory / "ticks"),
            "TRAINHUB_SIMULATION_STEPS_PER_SECOND": str(speed),
        }
        result = result_of("ticking", count, passes, environment=environment)
        bench.cluster.drop(DATABASE)
        cpu_seconds = statistics.median(result["cpu_seconds"])
        what = f"{count} runs of {speed} step{'s' * (speed > 1)}/s"
        rows += [
            Row(
                f"a tick, {what}", statistics.median(result["tick"]), "s",
                at_most=SECONDS_AT_MOST, samples=result["tick"],
            ),
            Row(
                f"until every run is advanced, {what}", statistics.median(result["seconds"]), "s",
                samples=result["seconds"],
                note=f"{result['steps']:,.0f} steps in a pass, which takes {cpu_seconds:.2f} s of "
                "CPU time of the worker",
            ),
        ]  # fmt: skip
    return rows


SUBJECTS: Final[Subjects] = {
    "ticks": Subject("A worker that supervises 500 simulated runs", ticks),
}
