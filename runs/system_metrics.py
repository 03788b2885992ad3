"""Metrics of the host that a run works on, under the names that MLflow's clients give them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

PREFIX: Final = "system/"  # their step is the number of the sample, not a step of the training
GPU_UTILIZATION: Final = re.compile(r"system/gpu_\d+_utilization_percentage")


def tells_gpu_utilization(keys: Iterable[str]) -> bool:
    return any(GPU_UTILIZATION.fullmatch(key) for key in keys)


def mean_gpu_utilization(metrics: Mapping[str, Any]) -> float | None:
    """The mean utilization, from 0 to 1, of the GPUs in a run's latest values; None without any."""
    shares = [
        value / 100
        for key, value in metrics.items()
        if GPU_UTILIZATION.fullmatch(key) and isinstance(value, int | float) and 0 <= value <= 100
    ]
    return sum(shares) / len(shares) if shares else None
