"""make bench: TrainHub beside its peers and its limits, all on this machine, one after another.

python -m benchmarks [--only log-batch,run-detail] [--quick] [--points 100000000] [--record]
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path
from typing import Final

from benchmarks import reading, unmodified, writing
from benchmarks.bench import Bench, Subjects
from benchmarks.client import Pace
from benchmarks.database import running_cluster
from benchmarks.environments import BENCH, ROOT, versions
from benchmarks.report import Row, machine, markdown, record, say

SUBJECTS: Final[Subjects] = writing.SUBJECTS | unmodified.SUBJECTS | reading.SUBJECTS
PACE: Final = Pace()
QUICK: Final = Pace(repetitions=2, seconds=0.5, warm_up_seconds=0.3)
FIGURES: Final = BENCH / "figures.md"


def main() -> int:
    options = _options()
    names = options.only.split(",") if options.only else list(SUBJECTS)
    sections: dict[str, list[Row]] = {}
    failed = []
    with running_cluster(options.directory) as cluster:
        about = machine(versions())
        if options.quick:
            about.append("QUICK: these figures only say that everything works")
        say("\n".join(about))
        bench = Bench(
            cluster,
            options.directory,
            QUICK if options.quick else PACE,
            points=options.points,
            quick=options.quick,
            all_series=options.all_series,
        )
        for name in names:
            subject = SUBJECTS[name]
            say(f"\n{name}: {subject.title}")
            started = time.monotonic()
            try:
                sections[subject.title] = rows = subject.measure(bench)
            except Exception:  # the others are measured all the same
                failed.append(name)
                say(traceback.format_exc())
            else:
                say("\n".join(f"  {row}" for row in rows))
            say(f"  ({time.monotonic() - started:.0f} s)")
    figures = markdown(about, sections)
    FIGURES.write_text(figures)
    if options.record and not failed:
        record(ROOT / "docs" / "benchmarks.md", figures)
    missed = [row for rows in sections.values() for row in rows if (row.margin or 0) < 0]
    say(f"\n{len(missed)} bars missed" + "".join(f"\n  {row}" for row in missed))
    if failed:
        say(f"Not measured: {', '.join(failed)}")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help=f"some of {','.join(SUBJECTS)}")
    parser.add_argument("--quick", action="store_true", help="does it work? seconds, no figures")
    parser.add_argument("--points", type=int, default=10_000_000, help="stored, for volume")
    parser.add_argument(
        "--all-series", action="store_true", help="list: 20 million rows of metrics too"
    )
    parser.add_argument("--record", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument(
        "--directory", type=Path, default=BENCH / "run", help="for the database; is emptied"
    )
    options = parser.parse_args()
    unknown = set(filter(None, options.only.split(","))) - set(SUBJECTS)
    if unknown:
        parser.error(f"no such subject: {', '.join(sorted(unknown))}")
    if options.record and (options.only or options.quick):
        parser.error("only a whole run is recorded")
    return options


if __name__ == "__main__":
    sys.exit(main())
