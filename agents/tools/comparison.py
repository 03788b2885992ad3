"""compare_runs: what differs between runs, and what it came to."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Final

from django.utils.translation import gettext as _
from msgspec import Meta

from agents.answers import Answer, small, text
from agents.lookups import RunId, run_of
from agents.tool import Arguments, Caller, tool
from core.exceptions import InvalidInput
from core.numbers import json_number
from core.text import MAX_KEY_LENGTH
from dashboard.comparison.differences import section
from dashboard.comparison.values import MISSING, flattened
from metrics import reading
from metrics.goals import Direction, by_importance, direction_of
from runs.models import Run

MAX_RUNS: Final = 8
MAX_DIFFERENCES: Final = 30  # hyperparameters
MAX_METRICS: Final = 6  # unless they are named


class CompareRuns(Arguments, frozen=True):
    runs: Annotated[
        list[RunId],
        Meta(min_length=2, max_length=MAX_RUNS, description="Ids; the first is the baseline."),
    ]
    metrics: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=MAX_KEY_LENGTH)]],
        Meta(max_length=20, description="Keys of metrics. Default: those that matter."),
    ] = []  # noqa: RUF012  msgspec copies it


@tool("Compare runs")
def compare_runs(caller: Caller, given: CompareRuns) -> Answer:
    """What differs between runs: only the settings and hyperparameters that are not the same in all
    of them, and the last and best value of each metric. Values are in the order of "runs"; "-" is
    what a run does not have."""
    if len(set(given.runs)) < len(given.runs):
        raise InvalidInput(_("The same run is named twice."), attr="runs")
    runs = [run_of(caller, pk) for pk in given.runs]
    differing = section("settings", [_settings(run) for run in runs], 0).differing
    content: dict[str, Any] = {
        "runs": [{"id": run.pk, "name": text(run.name, 100), "status": run.status} for run in runs],
        "differences": {
            text(row.name, 100): [_shown(cell.value) for cell in row.cells]
            for row in differing[:MAX_DIFFERENCES]
        },
        "metrics": _metrics(runs, given.metrics),
    }
    notes = []
    if len(differing) > MAX_DIFFERENCES:
        message = _("%(count)d more hyperparameters differ: see get_run.")
        notes.append(message % {"count": len(differing) - MAX_DIFFERENCES})
    return Answer(content, rows="metrics", notes=notes)


def _settings(run: Run) -> dict[str, Any]:
    return {
        "model": run.model,
        "dataset": run.dataset,
        "recipe": run.recipe_id,
        "gpus": run.gpu_count,
        "gpu_type": run.gpu_type,
        "resumed_from": run.resumed_from_id,
        **{f"params.{name}": value for name, value in flattened(run.hyperparameters).items()},
    }


def _shown(value: Any) -> Any:
    return "-" if value is MISSING else text(value, 60) if isinstance(value, str) else small(value)


def _metrics(runs: list[Run], wanted: list[str]) -> list[dict[str, Any]]:
    counts = Counter(key for run in runs for key in run.metrics)
    keys = list(dict.fromkeys(wanted)) or by_importance(counts)[:MAX_METRICS]
    found = reading.run_metrics([run.pk for run in runs], keys)
    rows = []
    for key in keys:
        of_runs = [found.get(run.pk, {}).get(key) for run in runs]
        direction = direction_of(key)
        row: dict[str, Any] = {
            "key": key,
            "last": ["-" if one is None else json_number(one.last_value) for one in of_runs],
            "last_step": ["-" if one is None else one.last_step for one in of_runs],
        }
        if direction is not None:
            best = [_best(one, direction) for one in of_runs]
            row["best_is"] = "min" if direction is Direction.LOWER else "max"
            row["best"] = [value for value, _step in best]
            row["best_step"] = [step for _value, step in best]
        rows.append(row)
    return rows


def _best(found: reading.RunMetric | None, direction: Direction) -> tuple[Any, Any]:
    if found is None:
        return "-", "-"
    if direction is Direction.LOWER:
        return json_number(found.minimum), found.minimum_step
    return json_number(found.maximum), found.maximum_step
