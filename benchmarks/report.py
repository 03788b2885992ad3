"""Report the figures, what they are compared with, and whether they meet their bars."""

from __future__ import annotations

import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import psutil

# The places of the figures in the document.
FIGURES_SECTION: Final = (
    "<!-- figures: written by make bench RECORD=1 -->",
    "<!-- /figures -->",
)
CLUSTER_SECTION: Final = (
    "<!-- cluster: written by make bench ONLY=cluster RECORD=1 -->",
    "<!-- /cluster -->",
)
ACCESS_SECTION: Final = (
    "<!-- access: written by make bench ONLY=access RECORD=1 -->",
    "<!-- /access -->",
)
PAGES_SECTION: Final = (
    "<!-- pages: written by make bench ONLY=pages RECORD=1 -->",
    "<!-- /pages -->",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. ``value`` and ``limit`` are the medians of ``samples`` and
    ``limit_samples``."""

    what: str
    value: float
    unit: str
    reference: str = ""  # the peer or limit
    limit: float | None = None  # the reference's value in the same unit
    ratio: float | None = None  # how many times better than the reference
    at_least: float | None = None  # bars: for the ratio if there is one, else for the value
    at_most: float | None = None
    samples: Sequence[float] = ()
    limit_samples: Sequence[float] = ()
    note: str = ""

    @property
    def judged(self) -> float:
        return self.value if self.ratio is None else self.ratio

    @property
    def bar(self) -> str:
        times = "" if self.ratio is None else "× "
        if self.at_least is not None:
            return f"≥ {times}{self.at_least:,g}"
        return "" if self.at_most is None else f"≤ {times}{self.at_most:,g}"

    @property
    def margin(self) -> float | None:
        """How far the bar is met (or missed, if negative), relative to it; None without a bar."""
        if self.at_least is not None:
            return self.judged / self.at_least - 1
        return None if self.at_most is None else 1 - self.judged / self.at_most

    @property
    def verdict(self) -> str:
        if self.margin is None:
            return ""
        return f"{'met' if self.margin >= 0 else 'MISSED'} by {abs(self.margin):.0%}"

    @property
    def spread(self) -> str:
        """The range of the repetitions relative to the median, then that of the reference."""
        ours, theirs = _spread(self.samples), _spread(self.limit_samples)
        return f"{ours} (its {theirs})" if ours and theirs else ours

    @property
    def cells(self) -> tuple[str, ...]:
        limit = "" if self.limit is None else f"{number(self.limit)}"
        ratio = "" if self.ratio is None else f"× {self.ratio:.2f}"
        value = f"{number(self.value)} {self.unit}"
        return (self.what, value, self.reference, limit, ratio, self.bar, self.verdict, self.spread)

    def __str__(self) -> str:
        what, value, reference, limit, ratio, bar, verdict, spread = self.cells
        parts = [value, f"{reference} {limit}".strip(), ratio, bar, verdict]
        line = f"{what}: " + " | ".join(part for part in parts if part)
        line += f" ({spread})" if spread else ""
        return line + (f"\n    {self.note}" if self.note else "")


def _spread(samples: Sequence[float]) -> str:
    if len(samples) < 2:
        return ""
    median = statistics.median(samples)
    return f"{min(samples) / median - 1:+.0%} … {max(samples) / median - 1:+.0%}"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"


def compared(
    what: str,
    value: float,
    unit: str,
    reference: str,
    limit: float,
    *,
    at_least: float | None = None,
    less_is_better: bool = False,
    samples: Sequence[float] = (),
    limit_samples: Sequence[float] = (),
    note: str = "",
) -> Row:
    """Create a row whose bar, if any, is the minimum ratio to the reference."""
    ratio = limit / value if less_is_better else value / limit
    return Row(
        what,
        value,
        unit,
        reference,
        limit,
        ratio,
        at_least=at_least,
        samples=samples,
        limit_samples=limit_samples,
        note=note,
    )


# --- the machine -----------------------------------------------------------------------------


def machine(peers: Sequence[str]) -> list[str]:
    """Describe the machine and the versions that the figures depend on."""
    memory_gb = psutil.virtual_memory().total / 1e9
    load = psutil.getloadavg()[0]
    ours = ", ".join(f"{name} {version(name)}" for name in ("Django", "granian", "psycopg"))
    return [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"{_cpu_model()}, {psutil.cpu_count()} cores, {memory_gb:.0f} GB of memory, "
        f"{platform.system()} {platform.release()}",
        f"load average before the first measurement: {load:.2f}",
        f"Python {platform.python_version()}, {ours}",
        *peers,
    ]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


# --- output ----------------------------------------------------------------------------------


def print_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def markdown(about: Sequence[str], sections: dict[str, list[Row]]) -> str:
    lines = [f"- {line}" for line in about]
    for title, rows in sections.items():
        lines += ["", f"### {title}", ""]
        lines += [
            _line("what", "TrainHub", "baseline", "baseline value", "ratio", "bar", "", "spread")
        ]
        lines += [_line(*["---"] * 8)]
        lines += [_line(*row.cells) for row in rows]
        lines += [f"\n{row.what}: {row.note}" for row in rows if row.note]
    return "\n".join(lines) + "\n"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def record(document: Path, figures: str, section: tuple[str, str]) -> None:
    """Replace the figures of a section in the document."""
    begin, end = section
    before, _begin, rest = document.read_text().partition(begin)
    _old, _end, after = rest.partition(end)
    document.write_text(f"{before}{begin}\n\n{figures}\n{end}{after}")
