"""The GPUs of a Ray cluster, by type, as its nodes announce them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from runs.executors import FoundPool

GPU: Final = "GPU"
# A node has one resource named so for the type of its GPUs:
# https://docs.ray.io/en/latest/ray-core/scheduling/accelerators.html
TYPE: Final = "accelerator_type:"
UNTYPED: Final = "gpu"  # of GPUs whose type Ray does not know

Resources = Mapping[str, float]


def pools_in(nodes: Iterable[Resources]) -> list[FoundPool]:
    """``nodes``: the resources of each node that is alive."""
    counts: Counter[str] = Counter()
    for resources in nodes:
        if count := int(resources.get(GPU, 0)):
            counts[_gpu_type(resources)] += count
    return [FoundPool(gpu_type, count) for gpu_type, count in sorted(counts.items())]


def _gpu_type(resources: Resources) -> str:
    found = sorted(name for name in resources if name.startswith(TYPE))
    return found[0].removeprefix(TYPE) if found else UNTYPED


def nodes_with(nodes: Iterable[Resources], needed: Resources) -> int:
    """How many nodes have at least what is needed, if nothing else uses them."""
    return sum(
        all(resources.get(name, 0.0) >= amount for name, amount in needed.items())
        for resources in nodes
    )
