"""make bench: compare TrainHub with its peers and its limits, one after another on this machine.

python -m benchmarks [--only log-batch,run-detail] [--quick] [--points 100000000] [--record]
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path
from typing import Final

from benchmarks import (
    access,
    accounts,
    pages,
    reading,
    scheduling,
    sizes,
    supervising,
    tracking,
    unmodified,
    writing,
)
from benchmarks.bench import Bench, Subjects
from benchmarks.client import Pace
from benchmarks.database import running_cluster
from benchmarks.environments import BENCH, PACKAGES, ROOT, versions
from benchmarks.report import (
    ACCESS_SECTION,
    CLUSTER_SECTION,
    FIGURES_SECTION,
    PAGES_SECTION,
    Row,
    machine,
    markdown,
    print_line,
    record,
)

API_SUBJECTS: Final[Subjects] = writing.SUBJECTS | unmodified.SUBJECTS | reading.SUBJECTS
CLUSTER_SUBJECTS: Final[Subjects] = (
    scheduling.SUBJECTS
    | supervising.SUBJECTS
    | tracking.SUBJECTS
    | accounts.SUBJECTS
    | sizes.SUBJECTS
)
SUBJECTS: Final[Subjects] = API_SUBJECTS | CLUSTER_SUBJECTS | access.SUBJECTS | pages.SUBJECTS
# Name → subjects that are measured together, and the place of their figures.
GROUPS: Final = {
    "": (API_SUBJECTS, FIGURES_SECTION),
    "cluster": (CLUSTER_SUBJECTS, CLUSTER_SECTION),
    "access": (access.SUBJECTS, ACCESS_SECTION),
    "pages": (pages.SUBJECTS, PAGES_SECTION),  # in a browser
}
PACE: Final = Pace()
QUICK: Final = Pace(repetitions=2, seconds=0.5, warm_up_seconds=0.3)
FIGURES: Final = BENCH / "figures.md"


def main() -> int:
    options = _options()
    names = _names(options.only)
    alone = not set(names) & set(API_SUBJECTS)  # without the other peers
    sections: dict[str, list[Row]] = {}
    failed = []
    with running_cluster(options.directory) as cluster:
        about = machine(versions(["mlflow"] if alone else PACKAGES))
        if options.quick:
            about.append("QUICK: these figures only show that everything works")
        print_line("\n".join(about))
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
            print_line(f"\n{name}: {subject.title}")
            started = time.monotonic()
            try:
                sections[subject.title] = rows = subject.measure(bench)
            except Exception:  # measure the other subjects anyway
                failed.append(name)
                print_line(traceback.format_exc())
            else:
                print_line("\n".join(f"  {row}" for row in rows))
            print_line(f"  ({time.monotonic() - started:.0f} s)")
    figures = markdown(about, sections)
    FIGURES.write_text(figures)
    if options.record and not failed:
        _subjects, section = GROUPS[options.only]
        record(ROOT / "docs" / "benchmarks.md", figures, section)
    missed = [row for rows in sections.values() for row in rows if (row.margin or 0) < 0]
    print_line(f"\n{len(missed)} bars missed" + "".join(f"\n  {row}" for row in missed))
    if failed:
        print_line(f"Not measured: {', '.join(failed)}")
    return 1 if failed else 0


def _names(only: str) -> list[str]:
    """The subjects of the group that ``only`` names, or those that it lists."""
    if only in GROUPS:
        subjects, _section = GROUPS[only]
        return list(subjects)
    return only.split(",")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", default="", help=f"cluster, access, pages, or subjects: {','.join(SUBJECTS)}"
    )
    parser.add_argument("--quick", action="store_true", help="only check that everything works")
    parser.add_argument("--points", type=int, default=10_000_000, help="stored points for volume")
    parser.add_argument(
        "--all-series", action="store_true", help="for list: add 20 million rows of metrics"
    )
    parser.add_argument(
        "--record", action="store_true", help="write the figures to docs/benchmarks.md"
    )
    parser.add_argument(
        "--directory",
        type=Path,
        default=BENCH / "run",
        help="for the database; its contents are deleted",
    )
    options = parser.parse_args()
    unknown = set(_names(options.only)) - set(SUBJECTS)
    if unknown:
        parser.error(f"unknown subjects: {', '.join(sorted(unknown))}")
    if options.record and (options.only not in GROUPS or options.quick):
        parser.error("--record requires a full run, or --only cluster or pages")
    return options


if __name__ == "__main__":
    sys.exit(main())
