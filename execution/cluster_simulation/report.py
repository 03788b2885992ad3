"""Tables and pictures of simulations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from execution.cluster_simulation.cluster import Outcome, SimulatedRun
from execution.cluster_simulation.results import Summary, kind_of, size_of, summary, waits_by
from execution.cluster_simulation.trace import EVALUATION
from metrics.curves import Curve, Points
from metrics.plots import PlotCurve, PlotOptions, plot_svg

_ROWS: Final[Sequence[tuple[str, Callable[[Summary], str]]]] = (
    ("GPU time in use", lambda it: f"{it.utilization:.1%}"),
    ("evaluations wait, p95 (s)", lambda it: f"{it.evaluation_p95:,.0f}"),
    ("runs wait, median (s)", lambda it: f"{it.wait_median:,.0f}"),
    ("runs wait, p95 (s)", lambda it: f"{it.wait_p95:,.0f}"),
    ("goodput of the GPU time in use", lambda it: f"{it.goodput:.2%}"),
    ("fairness between projects", lambda it: f"{it.fairness:.2f}"),
    ("restarts after failures", lambda it: f"{it.restarts:,}"),
    ("preemptions", lambda it: f"{it.preemptions:,}"),
    ("claims", lambda it: f"{it.claims:,}"),
    ("a decision, mean / p95 (ms)", lambda it: f"{it.decision_ms:.1f} / {it.decision_p95_ms:.1f}"),
    (
        "estimated start, median error",
        lambda it: f"{it.estimate_error:.0%} of {it.estimates}",
    ),
    ("simulated in (s)", lambda it: f"{it.seconds:,.0f}"),
)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, aligned for terminals too."""
    widths = [max(len(row[place]) for row in (header, *rows)) for place in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * width if place == 0 else "-" * (width - 1) + ":" for place, width in enumerate(widths)
    ]
    return "\n".join([line(header), f"| {' | '.join(rule)} |", *map(line, rows)])


def text(outcomes: Mapping[str, Outcome]) -> str:
    """All tables: the policies beside each other, then how long runs waited by kind and size."""
    summaries = {name: summary(outcome) for name, outcome in outcomes.items()}
    parts = [
        table(
            ["", *summaries],
            [[label, *(show(each) for each in summaries.values())] for label, show in _ROWS],
        )
    ]
    for title, group_of in (("kind", kind_of), ("GPUs", size_of)):
        parts.append(_waits(title, group_of, outcomes))
    return "\n\n".join(parts)


def _waits(
    title: str, group_of: Callable[[SimulatedRun], str], outcomes: Mapping[str, Outcome]
) -> str:
    by_policy = {
        name: {waits.group: waits for waits in waits_by(outcome, group_of)}
        for name, outcome in outcomes.items()
    }
    groups = sorted({group for waits in by_policy.values() for group in waits})
    header = [title, "runs"]
    for name in outcomes:
        header += [f"{name}: median (s)", "p95 (s)"]
    rows = []
    for group in groups:
        found = [waits.get(group) for waits in by_policy.values()]
        runs = next(waits.runs for waits in found if waits is not None)
        row = [group, f"{runs:,}"]
        for waits in found:
            row += ["–", "–"] if waits is None else [f"{waits.median:,.0f}", f"{waits.p95:,.0f}"]
        rows.append(row)
    return table(header, rows)


def pictures(outcomes: Mapping[str, Outcome], folder: Path) -> list[Path]:
    """SVG files: GPUs in use by the hour, and how long evaluations and others waited. Raises
    OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {
        "utilization.svg": (
            "GPUs in use (%), by hour",
            [_use(name, outcome) for name, outcome in outcomes.items()],
            False,
        ),
        "waiting.svg": (
            "waiting time (s), by percentile of the runs",
            [
                _waiting(f"{name}, {label}", outcome, is_evaluation=is_evaluation)
                for name, outcome in outcomes.items()
                for label, is_evaluation in (("evaluations", True), ("others", False))
            ],
            True,
        ),
    }
    paths = []
    for file, (title, curves, log) in drawn.items():
        path = folder / file
        path.write_bytes(plot_svg(curves, PlotOptions(title=title, log=log, theme="auto")))
        paths.append(path)
    return paths


def _use(name: str, outcome: Outcome) -> PlotCurve:
    hours = np.arange(0, outcome.until / 3600 + 1)
    times = np.array([at for at, _count in outcome.used] or [0.0])
    counts = np.array([count for _at, count in outcome.used] or [0])
    # The integral at each hour, and its differences: the mean of each hour.
    steps = np.diff(times, append=max(outcome.until, times[-1]))
    total = np.concatenate([[0.0], np.cumsum(counts * steps)])
    ends = np.concatenate([times, [max(outcome.until, times[-1])]])
    means = np.diff(np.interp(hours * 3600, ends, total)) / 3600 / outcome.gpus * 100
    return _curve(name, hours[:-1], means)


def _waiting(name: str, outcome: Outcome, *, is_evaluation: bool) -> PlotCurve:
    waited = [
        run.waited
        for run in outcome.runs
        if run.waited is not None and (run.job.kind == EVALUATION) == is_evaluation
    ]
    shares = np.arange(1, 100)
    values = np.percentile(waited or [0.0], shares)
    return _curve(name, shares, np.maximum(values, 1.0))


def _curve(name: str, steps: np.ndarray, values: np.ndarray) -> PlotCurve:
    step = steps.astype(np.int64)
    points = Points(step, np.zeros_like(step), values)
    return PlotCurve(Curve(name, name, len(step), int(step[-1]), points), label=name)
