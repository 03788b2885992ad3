"""Which metrics share a chart, and what a chart is drawn from."""

from __future__ import annotations

import re
from typing import Any

from runs import metrics
from runs.models import Run

MAX_CHARTS = 24  # a page with more tells nobody anything; the table lists every metric
MAX_POINTS = 600  # a curve: about a point for every two pixels

# train_loss, eval_loss, val/loss: one quantity, measured on different data.
MEASURED_ON = re.compile(r"\A(train|training|eval|val|valid|validation|test)[_/.-](?=.)")


def titles(keys: list[str]) -> dict[str, list[str]]:
    """Title -> the metrics of that chart; losses come first, then the rest by name."""
    charts: dict[str, list[str]] = {}
    for key in sorted(keys):
        charts.setdefault(MEASURED_ON.sub("", key), []).append(key)
    for members in charts.values():  # what is trained on comes before what is measured beside it
        members.sort(key=lambda key: (not key.startswith("train"), key))
    named = {
        title if len(members) > 1 else members[0]: members for title, members in charts.items()
    }
    return dict(sorted(named.items(), key=lambda chart: ("loss" not in chart[0], chart[0])))


def charts(run: Run) -> list[dict[str, Any]]:
    """The run's charts as the page's script draws them (static/js/charts.js)."""
    wanted = dict(list(titles(list(run.metrics)).items())[:MAX_CHARTS])
    keys = [key for members in wanted.values() for key in members]
    curves = {one.key: one.as_json() for one in metrics.series(run, keys, max_points=MAX_POINTS)}
    return [
        {"title": title, "series": [curves[key] for key in members if key in curves]}
        for title, members in wanted.items()
    ]
