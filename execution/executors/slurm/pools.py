"""The GPUs of a Slurm cluster, by partition and type."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from runs.executors import FoundPool

# An entry of Gres: gpu:a100:4(S:0-1), gpu:4, gpu:a100:no_consume:4 (slurm.conf(5), Gres).
_GPUS: Final = re.compile(r"gpu(?::(?P<type>[A-Za-z][\w.\-]*))?(?::no_consume)?:(?P<count>\d+)")


def pools_in(text: str) -> list[FoundPool]:
    """From lines of ``sinfo --noheader --format=%R|%G|%D``: partition, generic resources of a node,
    number of such nodes. GPUs without a type are of the type "gpu"."""
    counts: Counter[tuple[str, str]] = Counter()
    for line in text.splitlines():
        partition, _bar, rest = line.strip().partition("|")
        resources, _bar, nodes = rest.rpartition("|")
        if not nodes.isdecimal():
            continue
        for match in _GPUS.finditer(resources):
            key = (partition, match["type"] or "gpu")
            counts[key] += int(match["count"]) * int(nodes)
    return [
        FoundPool(gpu_type, count, cluster)
        for (cluster, gpu_type), count in sorted(counts.items())
        if count
    ]
