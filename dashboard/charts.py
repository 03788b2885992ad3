"""Group metrics into charts, and load the data that each chart draws."""

from __future__ import annotations

import re
from typing import Any

from metrics import reading
from runs.models import Run

MAX_CHARTS = 24  # more would be unreadable; the table lists every metric
MAX_POINTS = 600  # per curve: about one point for every two pixels

# train_loss, eval_loss, val/loss: the same quantity, measured on different data splits.
SPLIT_PREFIX = re.compile(r"\A(train|training|eval|val|valid|validation|test)[_/.-](?=.)")


def group_by_title(keys: list[str]) -> dict[str, list[str]]:
    """Map each chart title to its metrics: losses first, then the rest by name."""
    charts: dict[str, list[str]] = {}
    for key in sorted(keys):
        charts.setdefault(SPLIT_PREFIX.sub("", key), []).append(key)
    for members in charts.values():  # training metrics before evaluation metrics
        members.sort(key=lambda key: (not key.startswith("train"), key))
    named = {
        title if len(members) > 1 else members[0]: members for title, members in charts.items()
    }
    return dict(sorted(named.items(), key=lambda chart: ("loss" not in chart[0], chart[0])))


def charts(run: Run) -> list[dict[str, Any]]:
    """Return the run's charts in the format that static/js/charts.js draws."""
    groups = dict(list(group_by_title(list(run.metrics)).items())[:MAX_CHARTS])
    keys = [key for members in groups.values() for key in members]
    curves = {
        curve.key: curve.as_json() for curve in reading.series(run.pk, keys, max_points=MAX_POINTS)
    }
    return [
        {"title": title, "series": [curves[key] for key in members if key in curves]}
        for title, members in groups.items()
    ]
