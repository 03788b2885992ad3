"""Jobs as in a published cluster: Seren and Kalos of Acme (Hu et al., "Characterization of Large
Language Model Development in the Datacenter", NSDI 2024; its data are CC-BY-4.0).

The shares of each kind by number and by GPU time, the endings and the medians of durations are the
paper's. Durations are log-normal: their median is the paper's, their mean what makes the share of
GPU time. Sizes are those of the paper's figures, roughly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Final

import numpy as np

from execution.cluster_simulation.trace import EVALUATION, Ending, Job

LONGEST_SECONDS: Final = 10 * 86_400.0
SHORTEST_SECONDS: Final = 1.0
PROJECTS: Final = 40
OWNERS: Final = 8


@dataclass(frozen=True, slots=True)
class Kind:
    """``share``: of the jobs; ``gpu_share``: of the GPU time; ``sizes``: GPUs -> weight; endings:
    weights of completed, cancelled, failed."""

    share: float
    gpu_share: float
    median_seconds: float
    sizes: Mapping[int, float]
    endings: tuple[float, float, float]
    priority: int = 0
    preemptible: bool = False

    @property
    def mean_size(self) -> float:
        return sum(size * weight for size, weight in self.sizes.items()) / sum(self.sizes.values())


@dataclass(frozen=True, slots=True)
class Profile:
    gpus: int
    jobs_a_month: int
    kinds: Mapping[str, Kind]

    def resized(self, gpus: int) -> Profile:
        """Of another number of GPUs; no job needs more than a quarter of them."""
        most = max(1, gpus // 4)
        kinds = {
            name: replace(kind, sizes=_at_most(kind.sizes, most))
            for name, kind in self.kinds.items()
        }
        return replace(self, gpus=gpus, kinds=kinds)


def _at_most(sizes: Mapping[int, float], most: int) -> dict[int, float]:
    limited: dict[int, float] = {}
    for size, weight in sizes.items():
        limited[min(size, most)] = limited.get(min(size, most), 0.0) + weight
    return limited


_SMALL: Final = {1: 0.6, 2: 0.15, 4: 0.15, 8: 0.1}
SEREN: Final = Profile(
    gpus=2288,
    jobs_a_month=110_000,
    kinds={
        EVALUATION: Kind(0.649, 0.062, 120, _SMALL, (0.56, 0.02, 0.42)),
        "pretraining": Kind(
            0.009,
            0.695,
            400,
            {32: 0.3, 64: 0.25, 128: 0.25, 256: 0.15, 512: 0.05},
            (0.2, 0.5, 0.3),
            priority=5,
        ),
        "fine-tuning": Kind(0.149, 0.064, 300, {8: 0.7, 16: 0.2, 32: 0.1}, (0.45, 0.15, 0.4)),
        "multimodal": Kind(0.029, 0.086, 300, {8: 0.5, 16: 0.3, 64: 0.2}, (0.4, 0.2, 0.4)),
        "debugging": Kind(
            0.019, 0.017, 200, {8: 0.7, 16: 0.2, 64: 0.1}, (0.3, 0.2, 0.5), preemptible=True
        ),
        "other": Kind(
            0.145, 0.076, 120, {1: 0.5, 8: 0.4, 16: 0.1}, (0.5, 0.1, 0.4), preemptible=True
        ),
    },
)
KALOS: Final = Profile(
    gpus=2416,
    jobs_a_month=3_300,
    kinds={
        EVALUATION: Kind(0.928, 0.004, 100, _SMALL, (0.56, 0.02, 0.42)),
        "pretraining": Kind(
            0.032,
            0.955,
            500,
            {64: 0.2, 128: 0.25, 256: 0.25, 512: 0.15, 1024: 0.15},
            (0.3, 0.6, 0.1),
            priority=5,
        ),
        "debugging": Kind(
            0.027, 0.016, 200, {8: 0.5, 32: 0.3, 64: 0.2}, (0.3, 0.2, 0.5), preemptible=True
        ),
        "other": Kind(0.013, 0.025, 200, {8: 0.6, 64: 0.4}, (0.5, 0.1, 0.4), preemptible=True),
    },
)
PROFILES: Final = {"seren": SEREN, "kalos": KALOS}


def workload(profile: Profile, *, runs: int, days: float, load: float, seed: int) -> list[Job]:
    """``runs`` jobs over ``days`` that together need the share ``load`` of the GPU time."""
    random = Random(seed)
    gpu_seconds = profile.gpus * days * 86_400 * load
    jobs: list[Job] = []
    for name, kind in profile.kinds.items():
        count = max(1, round(runs * kind.share))
        drawn = [_draw(random, name, kind, days) for _number in range(count)]
        jobs += _scaled(drawn, kind, gpu_seconds * kind.gpu_share)
    return sorted(jobs, key=lambda job: job.submitted)


def _draw(random: Random, name: str, kind: Kind, days: float) -> Job:
    """A job of about median length."""
    [size] = random.choices(list(kind.sizes), list(kind.sizes.values()))
    [ending] = random.choices(list(Ending), kind.endings)
    # Some projects submit much more than others, as some people do.
    project = min(PROJECTS - 1, int(random.expovariate(1 / 8)))
    return Job(
        submitted=random.uniform(0, days * 86_400),
        gpu_count=size,
        seconds=random.gauss(0.0, 1.0),  # of the logarithm; see _scaled
        planned_seconds=1.0 if ending is Ending.COMPLETED else random.uniform(0.1, 0.95),
        kind=name,
        project=f"project {project:02d}",
        owner=f"owner {project % OWNERS}",
        priority=kind.priority,
        preemptible=kind.preemptible,
        ending=ending,
    )


def _scaled(drawn: list[Job], kind: Kind, gpu_seconds: float) -> list[Job]:
    """Log-normal durations with the median of the kind, as spread as makes its GPU time. If no
    spread does, all are shorter or longer."""
    low, high = 0.0, 5.0
    counts = np.array([job.gpu_count for job in drawn], dtype=float)
    normals = np.array([job.seconds for job in drawn])
    for _step in range(40):
        sigma = (low + high) / 2
        durations = kind.median_seconds * np.exp(sigma * normals)
        if counts @ durations.clip(SHORTEST_SECONDS, LONGEST_SECONDS) < gpu_seconds:
            low = sigma
        else:
            high = sigma
    total = _gpu_seconds(drawn, kind.median_seconds, low)
    factor = gpu_seconds / total if total else 1.0
    return [
        _with_seconds(
            job, min(LONGEST_SECONDS, factor * _duration(kind.median_seconds, low, job.seconds))
        )
        for job in drawn
    ]


def _gpu_seconds(drawn: list[Job], median: float, sigma: float) -> float:
    return sum(job.gpu_count * _duration(median, sigma, job.seconds) for job in drawn)


def _duration(median: float, sigma: float, normal: float) -> float:
    return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, median * math.exp(sigma * normal)))


def _with_seconds(job: Job, seconds: float) -> Job:
    """A job that fails or is cancelled had planned to work longer."""
    planned = seconds / job.planned_seconds
    return replace(job, seconds=max(1.0, seconds), planned_seconds=max(1.0, planned))
