"""The curves of the demo's trainings. Pure functions; the same seed gives the same curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Steps: TypeAlias = NDArray[np.int64]
Values: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """The points of a metric: value i is reported at step i."""

    steps: Steps
    values: Values


def every(interval: int, first: int, last: int) -> Steps:
    """The steps from ``first`` to ``last`` at which a training reports."""
    return np.arange(max(first, interval) // interval * interval, last + 1, interval)


def random_of(*seed: object) -> np.random.Generator:
    """The generator of ``seed``, a tuple of texts and numbers."""
    return np.random.default_rng(list("/".join(map(str, seed)).encode()))


def power_law(steps: Steps, *, first: float, floor: float, scale: float, power: float) -> Values:
    """A loss that falls from ``first`` to ``floor``: half of the way takes a few ``scale``."""
    return np.asarray(floor + (first - floor) * (1 + steps / scale) ** -power)


def noise(rng: np.random.Generator, count: int, size: float, memory: float = 0.6) -> Values:
    """Noise of standard deviation ``size``, each value of which remembers the one before."""
    fresh = rng.normal(0, size * (1 - memory**2) ** 0.5, count)
    values = np.empty(count)
    value = 0.0
    for number in range(count):
        value = memory * value + fresh[number]
        values[number] = value
    return values


def spike(steps: Steps, *, at: int, height: float, lasts: float) -> Values:
    """A jump of ``height`` at step ``at`` that decays within a few times ``lasts`` steps."""
    since = steps - at
    return np.where(since >= 0, height * np.exp(-np.maximum(since, 0) / lasts), 0.0)


def warmup_cosine(steps: Steps, *, peak: float, warmup: int, total: int) -> Values:
    """A learning rate that rises to ``peak`` and falls to a tenth of it."""
    rising = peak * steps / max(warmup, 1)
    share = np.clip((steps - warmup) / max(total - warmup, 1), 0, 1)
    falling = peak * (0.1 + 0.45 * (1 + np.cos(np.pi * share)))
    return np.where(steps < warmup, rising, falling)


def saturating(steps: Steps, *, first: float, last: float, scale: float) -> Values:
    """A score that rises from ``first`` towards ``last``."""
    return np.asarray(last - (last - first) * np.exp(-steps / scale))


def gradient_norm(rng: np.random.Generator, steps: Steps, *, level: float = 0.6) -> Values:
    """Large at first, then about ``level``, with the long tail that gradients have."""
    return np.asarray((level + 4 * np.exp(-steps / 150)) * rng.lognormal(0, 0.22, len(steps)))


def host_metrics(
    rng: np.random.Generator, *, samples: int, gpus: int, busy: float = 0.96
) -> dict[str, Curve]:
    """What a host reports, under MLflow's names: its GPUs wait at each checkpoint."""
    numbers = np.arange(samples)
    waits = (numbers % 60 < 2).astype(float)
    curves = {}
    for gpu in range(gpus):
        used = np.clip(100 * busy - 70 * waits + rng.normal(0, 1.5, samples), 0, 100)
        memory = np.clip(81 + 0.4 * gpu + rng.normal(0, 0.3, samples), 0, 100)
        name = f"system/gpu_{gpu}"
        curves[f"{name}_utilization_percentage"] = Curve(numbers, used)
        curves[f"{name}_memory_usage_percentage"] = Curve(numbers, memory)
        curves[f"{name}_power_usage_watts"] = Curve(numbers, 120 + 5.4 * used)
    processor = np.clip(34 + rng.normal(0, 4, samples), 0, 100)
    curves["system/cpu_utilization_percentage"] = Curve(numbers, processor)
    memory = np.clip(41 + 6 * numbers / max(samples, 1) + rng.normal(0, 0.4, samples), 0, 100)
    curves["system/system_memory_usage_percentage"] = Curve(numbers, memory)
    return curves
