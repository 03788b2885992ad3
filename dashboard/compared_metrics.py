"""The metrics of compared runs: which are shown, what they came to, and the columns of plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.utils.translation import gettext as _

from dashboard import compared_runs
from dashboard.comparison.address import Address
from dashboard.comparison.columns import Column, column, columns_of
from dashboard.comparison.summary import Row, Stat, ranked, summary_row, value_at
from dashboard.comparison.values import flattened
from metrics import reading
from metrics.goals import Direction, by_importance, direction_of
from metrics.reading import RunMetric
from runs.models import Run

METRICS_SHOWN: Final = 6  # unless others are chosen
FEW_RUNS: Final = 6  # up to as many are columns beside each other
AXES_SHOWN: Final = 6  # of hyperparameters, unless others are chosen


@dataclass(frozen=True, slots=True)
class Chosen:
    """The metrics that the runs have, each with the number of runs, and those that are shown."""

    counts: dict[str, int]
    keys: list[str]

    @classmethod
    def of(cls, runs: Sequence[Run], address: Address) -> Chosen:
        counts: dict[str, int] = {}
        for run in runs:
            for key in run.metrics:
                counts[key] = counts.get(key, 0) + 1
        asked = [key for key in address.all("metrics") if key in counts]
        return cls(dict(sorted(counts.items())), asked or by_importance(counts)[:METRICS_SHOWN])


def direction(key: str, address: Address) -> Direction | None:
    """As the address says, otherwise as the metric's name does."""
    if key in address.all("lower"):
        return Direction.LOWER
    if key in address.all("higher"):
        return Direction.HIGHER
    return direction_of(key)


def metrics_by_run(runs: Sequence[Run], keys: Sequence[str]) -> list[dict[str, RunMetric]]:
    found = reading.run_metrics([run.pk for run in runs], keys)
    return [found.get(run.pk, {}) for run in runs]


def summary_table(
    runs: Sequence[Run], address: Address, baseline: int, now: datetime
) -> dict[str, Any]:
    """The context of the tab: the rows, each a statistic of a metric, and the order of the runs."""
    chosen = Chosen.of(runs, address)
    stats = [stat for stat in Stat if stat in address.all("stats")] or [Stat.LAST, Stat.BEST]
    metrics = metrics_by_run(runs, chosen.keys)
    rows = [
        summary_row(
            key,
            stat,
            [by_key.get(key) for by_key in metrics],
            direction=direction(key, address),
            baseline=baseline,
        )
        for key in chosen.keys
        for stat in stats
        if _tells_more(stat, stats, direction(key, address))
    ]
    by = address.choice("by", ("metric", "run") if len(runs) <= FEW_RUNS else ("run", "metric"))
    heads = [_head(row, address) for row in rows]
    order = _order(rows, len(runs), address)
    figures = [compared_runs.figures(run, now) for run in runs]
    return {
        "chosen": chosen,
        "is_running": not all(run.is_terminal for run in runs),
        "stats": [(stat, stat_label(stat), stat in stats) for stat in Stat],
        "by": by,
        "switched": str(address.but(by="run" if by == "metric" else "metric")),
        "heads": heads,
        "metric_rows": list(zip(heads, rows, strict=True)),
        "run_rows": [
            {
                "place": place,
                "run": runs[place],
                "is_baseline": place == baseline,
                "cells": [(row, row.cells[place]) for row in rows],
                "figures": figures[place],
            }
            for place in order
        ],
        "figures": figures,
        "unsorted": str(address.but(sort=None)) if address.one("sort") else "",
    }


def _tells_more(stat: Stat, stats: Sequence[Stat], way: Direction | None) -> bool:
    """The best of a metric without a direction is its last."""
    return not (stat is Stat.BEST and Stat.LAST in stats and way is None)


def stat_label(stat: Stat) -> str:
    return {
        Stat.LAST: _("last"),
        Stat.MINIMUM: _("min"),
        Stat.MAXIMUM: _("max"),
        Stat.BEST: _("best"),
    }[stat]


def _head(row: Row, address: Address) -> dict[str, Any]:
    """A heading: links that sort the runs by it and that turn what is better around."""
    spec = f"{row.stat}:{row.key}"
    lower_first = row.direction is not Direction.HIGHER
    sort = address.one("sort")
    if sort == spec:
        next_sort, sorted_as = f"-{spec}", "ascending"
    elif sort == f"-{spec}":
        next_sort, sorted_as = spec, "descending"
    else:
        next_sort, sorted_as = (spec if lower_first else f"-{spec}"), "none"
    turned = {"lower": "higher", "higher": "lower"}
    now = row.direction.value if row.direction else "higher"
    other = turned[now]
    return {
        "key": row.key,
        "stat": row.stat,
        "label": stat_label(row.stat),
        "direction": row.direction.value if row.direction else "",
        "sort": str(address.but(sort=next_sort)),
        "sorted": sorted_as,
        "turn": str(
            address.but(
                **{
                    now: [key for key in address.all(now) if key != row.key],
                    other: [*address.all(other), row.key],
                }
            )
        ),
    }


def _order(rows: Sequence[Row], count: int, address: Address) -> list[int]:
    sort = address.one("sort")
    stat, _colon, key = sort.removeprefix("-").partition(":")
    for row in rows:
        if (row.stat, row.key) == (stat, key):
            return ranked(row.cells, descending=sort.startswith("-"))
    return list(range(count))


# --- columns of plots ----------------------------------------------------------------------------


def plot_columns(runs: Sequence[Run], now: datetime) -> list[Column]:
    """Every column there is to choose, in groups: hyperparameters, metrics, the run itself."""
    chosen = Chosen.of(runs, Address({}))
    metrics = metrics_by_run(runs, list(chosen.counts))
    found = columns_of(
        _("Hyperparameters"), "params.", [flattened(run.hyperparameters) for run in runs]
    )
    for key in chosen.counts:
        way = direction_of(key)
        of_runs = [by_key.get(key) for by_key in metrics]
        for stat in (Stat.BEST, Stat.LAST) if way else (Stat.LAST,):
            label = _("%(metric)s, %(stat)s") % {"metric": key, "stat": stat_label(stat)}
            values = [value_at(metric, stat, way)[0] for metric in of_runs]
            found.append(column(f"{stat}:{key}", label, _("Metrics"), values))
    labels = compared_runs.number_labels()
    numbers = [compared_runs.numbers(run, now) for run in runs]
    found += [
        column(f"run.{name}", label, _("Run"), [values[name] for values in numbers])
        for name, label in labels.items()
    ]
    return [one for one in found if any(value not in (None, "") for value in one.values)]


def goal_column(columns: Sequence[Column], runs: Sequence[Run]) -> Column | None:
    """The metric that the runs are compared by first."""
    by_id = {one.id: one for one in columns}
    for key in Chosen.of(runs, Address({})).keys:
        for stat in (Stat.BEST, Stat.LAST):
            if (found := by_id.get(f"{stat}:{key}")) is not None:
                return found
    return None


def axes(columns: Sequence[Column], runs: Sequence[Run], address: Address) -> list[Column]:
    """Those of the address; otherwise the hyperparameters that differ, and the goal."""
    by_id = {one.id: one for one in columns}
    asked = [by_id[name] for name in address.all("columns") if name in by_id]
    if asked:
        return asked
    differing = _differing(columns)
    goal = goal_column(columns, runs)
    return [*differing[:AXES_SHOWN], *([goal] if goal else [])]


def scatter_columns(
    columns: Sequence[Column], runs: Sequence[Run], address: Address
) -> tuple[Column | None, Column | None, Column | None]:
    """x, y and color of the address; otherwise two hyperparameters that differ, and the goal."""
    by_id = {one.id: one for one in columns}
    differing = sorted(_differing(columns), key=lambda one: one.kind != "number")
    others = [one for one in columns if one.differs and one not in differing]
    candidates = [*differing, *others, *columns]
    first = next(iter(candidates), None)
    x = by_id.get(address.one("xcolumn")) or first
    y = by_id.get(address.one("ycolumn")) or goal_column(columns, runs) or first
    if "color" in address.values:
        return x, y, by_id.get(address.one("color"))
    return x, y, next((one for one in differing if one not in (x, y)), None)


def _differing(columns: Sequence[Column]) -> list[Column]:
    """The hyperparameters that differ, those with most values first; last those of which all values
    are the same but some are missing."""
    found = [one for one in columns if one.id.startswith("params.") and one.differs]
    return sorted(found, key=lambda one: (one.has_one_value, -one.distinct))
