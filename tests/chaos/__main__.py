"""``python -m tests.chaos [--only TEXT] [--record]``"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.hub import Hub, running_hub
from tests.chaos.witnesses import Notes, Witnesses

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "reliability.md"
START_MARK, END_MARK = "<!-- figures -->\n", "<!-- end of figures -->\n"
SPARE_SECONDS: Final = 30
HEALTH_SECONDS, READ_SECONDS = 0.5, 2.0


@dataclass(frozen=True)
class Figures:
    fault: Fault
    health: Notes
    reads: list[Notes]

    @property
    def holds(self) -> bool:
        slowest = max(notes.slowest for notes in self.reads)
        return self.health.slowest <= HEALTH_SECONDS and slowest <= READ_SECONDS

    def row(self) -> str:
        reads = self.reads
        cells = [
            self.fault.name,
            f"{self.health.slowest:.2f} s",
            f"{max(notes.slowest for notes in reads):.2f} s",
            f"{sum(notes.answers for notes in reads)}",
            f"{sum(notes.refused for notes in reads)}",
            f"{self.health.failed + sum(notes.failed for notes in reads)}",
            f"{max(notes.longest_away for notes in reads):.1f} s",
        ]
        return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="faults whose name contains this text")
    parser.add_argument("--record", action="store_true", help="write the figures to the document")
    options = parser.parse_args()
    faults = [fault for fault in FAULTS if options.only in fault.name]
    seconds = sum(fault.seconds for fault in faults) + SPARE_SECONDS
    with running_hub(seconds) as hub:
        witnesses = hub.witnesses()
        witnesses.start()
        figures = [broken(hub, witnesses, fault) for fault in faults if can(hub, fault)]
        witnesses.end()
        hub.wait_for_the_end()
        losses = hub.losses(witnesses)
        counts = {reporter.name: len(reporter.acknowledged) for reporter in witnesses.reporters}
    print(f"acknowledged: {counts}; lost or doubled: {losses or 'nothing'}")
    if options.record:
        record(figures, counts, losses)
    if losses or not all(figure.holds for figure in figures):
        sys.exit(1)


def can(hub: Hub, fault: Fault) -> bool:
    if fault.needs_disks and not hub.has_disks:
        print(f"{fault.name}: needs root, left out")
        return False
    return True


def broken(hub: Hub, witnesses: Witnesses, fault: Fault) -> Figures:
    for bystander in (witnesses.health, *witnesses.reads):
        bystander.take_notes()
    fault.act(hub)
    figures = Figures(
        fault, witnesses.health.take_notes(), [reads.take_notes() for reads in witnesses.reads]
    )
    print(figures.row(), flush=True)
    return figures


def record(figures: list[Figures], counts: dict[str, int], losses: list[str]) -> None:
    """Replace the part between the marks."""
    head = (
        "| fault | /healthz, slowest | reads, slowest | reads | refused | failed | longest away |"
    )
    lost = "; ".join(losses) or "nothing"
    sent = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    text = "\n".join(
        [
            head,
            "|---|---|---|---|---|---|---|",
            *(figure.row() for figure in figures),
            "",
            f"Acknowledged reports: {sent}. Lost or doubled: {lost}.",
            "",
            f"Measured on {os.cpu_count()} cores, Python {platform.python_version()}.",
            "",
        ]
    )
    document = DOCUMENT.read_text(encoding="utf-8")
    before, rest = document.split(START_MARK)
    after = rest.split(END_MARK)[1]
    DOCUMENT.write_text(f"{before}{START_MARK}\n{text}\n{END_MARK}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
