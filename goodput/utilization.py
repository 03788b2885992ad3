"""How much of its GPUs a run has used, as measured: by its script or by its worker's host."""

from __future__ import annotations

from typing import Final

from django.db.models import Q

from goodput import point_queries
from metrics.models import MetricSeries
from metrics.recording import GPU_UTILIZATION
from runs.models import Run
from runs.system_metrics import GPU_UTILIZATION as OF_GPUS

PROBES: Final = 200  # values of each GPU, at equal distances
MAX_GPUS: Final = 64


def mean_utilization_of(run: Run) -> float | None:
    """From 0 to 1, over the whole run and all its GPUs; None: not measured.

    A script's own metric counts before that of the host: it may see GPUs of several hosts.
    """
    own = _series(run, Q(key=GPU_UTILIZATION))
    if own:
        return point_queries.mean_utilization(own, are_shares=True, probes=PROBES)
    of_gpus = _series(run, Q(key__regex=f"^{OF_GPUS.pattern}$"))
    return point_queries.mean_utilization(of_gpus[:MAX_GPUS], are_shares=False, probes=PROBES)


def _series(run: Run, named: Q) -> list[tuple[int, int]]:
    """The ID and last step of each of these metrics that has points."""
    rows = MetricSeries.objects.filter(named, run=run, count__gt=0).order_by("key")
    return [(pk, last) for pk, last in rows.values_list("pk", "last_step") if last is not None]
