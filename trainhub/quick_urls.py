"""Which addresses are answered quickly: see trainhub/quick.py. Each is in trainhub/urls.py too."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from django.http import HttpResponse

from runs import quick_views
from tracking import metrics, runs
from trainhub.ids import ID_PATTERN

# (request, **path arguments); None: the request goes the long way, and nothing may have come of it
# that does not bear repeating.
QuickView = Callable[..., HttpResponse | None]

MLFLOW: Final = "/api/2.0/mlflow"
PATHS: Final[dict[str, QuickView]] = {
    f"{MLFLOW}/runs/log-metric": metrics.log_metric.quick,
    f"{MLFLOW}/runs/log-batch": metrics.log_batch.quick,
    f"{MLFLOW}/metrics/get-history": metrics.get_history.quick,
    f"{MLFLOW}/runs/get": runs.get.quick,
    f"{MLFLOW}/runs/search": runs.search.quick,
}
RUN: Final = re.compile(
    rf"/projects/(?P<project_id>{ID_PATTERN})/runs/(?P<id>{ID_PATTERN})(?P<rest>/metrics)?"
)
OF_A_RUN: Final[dict[str | None, QuickView]] = {
    None: quick_views.detail,
    "/metrics": quick_views.send_metrics,
}


def quick_view(path: str) -> tuple[QuickView, dict[str, str]] | None:
    """The quick view of that address, and its arguments."""
    view = PATHS.get(path)
    if view is not None:
        return view, {}
    found = RUN.fullmatch(path)
    if found is None:
        return None
    return OF_A_RUN[found["rest"]], {"project_id": found["project_id"], "id": found["id"]}
