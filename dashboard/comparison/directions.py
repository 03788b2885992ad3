"""Whether more or less of a metric is better, guessed by the words of its name."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final


class Direction(Enum):
    LOWER = "lower"
    HIGHER = "higher"


def _words(*names: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z])(?:{'|'.join(names)})(?![a-z])")


LOWER: Final = _words(
    "loss(?:es)?", "nll", "ppl", "perplexity", "err(?:ors?)?", "r?mse", "mae", "[wct]er", "bp[bc]",
    "entropy", "regret", "fid", "kl", "latency",
)  # fmt: skip
HIGHER: Final = _words(
    "acc(?:uracy)?", "f1", "au(?:c|roc|prc)", "map", "m?iou", "ndcg", "mrr", "precision", "recall",
    "bleu", "chrf", "rouge", "meteor", "em", "exact", "scores?", "rewards?", "returns?", "win",
    "winrate", "pass", "hits?", "dice", "psnr", "ssim", "r2", "margins?", "mmlu", "gsm8k",
    "humaneval", "mfu", "throughput", "per_sec(?:ond)?",
)  # fmt: skip
# They describe the host, not what the training achieves.
NEUTRAL_PREFIX: Final = "system/"


def direction_of(key: str) -> Direction | None:
    """None where the name says nothing, such as that of a learning rate."""
    name = key.lower()
    if name.startswith(NEUTRAL_PREFIX):
        return None
    if LOWER.search(name):
        return Direction.LOWER
    return Direction.HIGHER if HIGHER.search(name) else None
