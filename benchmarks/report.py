"""What was measured, what it is compared with, and whether that is as good as it should be."""

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

BEGIN: Final = "<!-- figures: written by make bench RECORD=1 -->"
END: Final = "<!-- /figures -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. ``samples``, ``limit_samples``: the repetitions of which ``value`` and
    ``limit`` are the medians."""

    what: str
    value: float
    unit: str
    beside: str = ""  # the peer or limit, and
    limit: float | None = None  # its value in the same unit
    ratio: float | None = None  # how many times better than it
    at_least: float | None = None  # bars: of the ratio if there is one, else of the value
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
        """The share of the bar by which it is met (or missed, below zero); None without one."""
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
        """From the least to the greatest repetition, as shares of the median; then the other's."""
        ours, theirs = _spread(self.samples), _spread(self.limit_samples)
        return f"{ours} (its {theirs})" if ours and theirs else ours

    @property
    def cells(self) -> tuple[str, ...]:
        limit = "" if self.limit is None else f"{number(self.limit)}"
        ratio = "" if self.ratio is None else f"× {self.ratio:.2f}"
        value = f"{number(self.value)} {self.unit}"
        return (self.what, value, self.beside, limit, ratio, self.bar, self.verdict, self.spread)

    def __str__(self) -> str:
        what, value, beside, limit, ratio, bar, verdict, spread = self.cells
        parts = [value, f"{beside} {limit}".strip(), ratio, bar, verdict]
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
    beside: str,
    limit: float,
    *,
    at_least: float | None = None,
    less_is_better: bool = False,
    samples: Sequence[float] = (),
    limit_samples: Sequence[float] = (),
    note: str = "",
) -> Row:
    """A row whose bar, if it has one, is how many times better than the other it must be."""
    ratio = limit / value if less_is_better else value / limit
    return Row(
        what,
        value,
        unit,
        beside,
        limit,
        ratio,
        at_least=at_least,
        samples=samples,
        limit_samples=limit_samples,
        note=note,
    )


# --- the machine -----------------------------------------------------------------------------


def machine(peers: Sequence[str]) -> list[str]:
    """What the figures depend on."""
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


# --- out -------------------------------------------------------------------------------------


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def markdown(about: Sequence[str], sections: dict[str, list[Row]]) -> str:
    lines = [f"- {line}" for line in about]
    for title, rows in sections.items():
        lines += ["", f"### {title}", ""]
        lines += [_line("what", "TrainHub", "beside it", "its value", "ratio", "bar", "", "spread")]
        lines += [_line(*["---"] * 8)]
        lines += [_line(*row.cells) for row in rows]
        lines += [f"\n{row.what}: {row.note}" for row in rows if row.note]
    return "\n".join(lines) + "\n"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def record(document: Path, figures: str) -> None:
    """Put the figures where the document has room for them."""
    before, _begin, rest = document.read_text().partition(BEGIN)
    _old, _end, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n\n{figures}\n{END}{after}")
