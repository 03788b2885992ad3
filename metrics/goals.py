"""What the name of a metric tells: whether less or more of it is better, and which ones matter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Final

from runs.system_metrics import PREFIX as SYSTEM_PREFIX


class Direction(Enum):
    """In which direction a metric is better; the values are those of addresses."""

    LOWER = "lower"
    HIGHER = "higher"


# Words of a name: eval/pass@1 -> eval, pass, 1; evalLoss -> eval, loss, and evalloss.
_WORDS: Final = re.compile(r"[a-z0-9]+")
_CAMEL_CASE: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PER_SECOND: Final = re.compile(r"(?:\bper (?:sec(?:ond)?|s)|\b(?:tokens|samples|it|steps) s)\b")
_BITS: Final = re.compile(r"\bbits? per \b|\bcross entropy\b")
# These decide, whatever else the name says: reward_loss is a loss.
_LOWER: Final = frozenset(
    {
        *("loss", "losses", "nll", "ppl", "perplexity", "perplexities", "bpb", "bpc", "bpt"),
        *("err", "error", "errors", "mse", "rmse", "mae", "mape", "wer", "cer", "ter", "eer"),
        *("ece", "brier", "fid", "kl", "crossentropy", "regret", "latency", "ttft", "tpot"),
        *("time", "runtime", "duration", "seconds", "ms", "distance", "toxicity"),
    }
)
_HIGHER: Final = frozenset(
    {
        *("acc", "accuracy", "precision", "recall", "auc", "auroc", "auprc", "roc", "ap", "map"),
        *("ndcg", "mrr", "hit", "hits", "f1", "f2", "bleu", "chrf", "meteor", "rouge", "cider"),
        *("exact", "em", "match", "pass", "correct", "success", "win", "wins", "winrate", "elo"),
        *("reward", "rewards", "return", "returns", "margin", "margins", "score", "scores"),
        *("iou", "miou", "dice", "psnr", "ssim", "r2", "mcc", "kappa", "correlation", "pearson"),
        *("spearman", "agreement", "likelihood", "throughput", "mfu", "hfu", "flops", "tflops"),
        *("tps", "utilization"),
        # Benchmarks that are told as a share of right answers.
        *(
            "mmlu",
            "cmmlu",
            "ceval",
            "agieval",
            "hellaswag",
            "arc",
            "arcc",
            "arce",
            "piqa",
            "siqa",
            "winogrande",
        ),
        *("gsm8k", "humaneval", "mbpp", "truthfulqa", "boolq", "openbookqa", "obqa", "triviaqa"),
        *("commonsenseqa", "squad", "bbh", "ifeval", "gpqa", "lambada", "copa", "livecodebench"),
    }
)
_HIGHER_PREFIXES: Final = ("accuracy", "bleu", "rouge", "f1", "recall", "hits", "mmlu")
# How a training is set and how far it is, also where an evaluation tells it.
_NEITHER: Final = frozenset(
    {
        *(
            "lr",
            "epoch",
            "epochs",
            "step",
            "steps",
            "iteration",
            "norm",
            "norms",
            "weight",
            "decay",
        ),
        *("learning", "batch", "tokens", "samples", "examples", "count", "num", "size", "length"),
        *("lengths", "len", "entropy", "temperature", "logps", "logits", "memory", "bytes"),
    }
)
_LOSS: Final = re.compile(r"(?:\A|[_/.\-])(?:loss|nll)(?:\Z|[_/.\-])", re.IGNORECASE)
_EVALUATION: Final = re.compile(
    r"(?:\A|/)(?:eval|evals|evaluation|val|valid|validation|dev|test|testing)[0-9]*[_/.\-]", re.I
)
# What says how a training is set and how far it is, not how well it goes.
_SETTINGS: Final = re.compile(
    r"(?:\A|[_/.\-])(?:epoch|lr|learning_rate|step|global_step|grad_norm|gpu_utilization)\Z", re.I
)
MOST_IMPORTANT: Final = 4


@lru_cache(4096)  # asked again and again for the few metrics of a page
def direction_of(key: str, *, of_evaluation: bool = False) -> Direction | None:
    """Whether less or more of the metric is better, by its name; None if that says nothing, as of
    learning rates and what is measured of the host.

    ``of_evaluation``: whether it is a result of an evaluation, whatever its name. What these tell
    is a score unless it is known for a loss, an error or a time.
    """
    if key.startswith(SYSTEM_PREFIX):
        return None
    words = _words(key)
    text = " ".join(_WORDS.findall(key.lower()))
    if _PER_SECOND.search(text):
        return Direction.HIGHER
    if not _LOWER.isdisjoint(words) or _BITS.search(text):
        return Direction.LOWER
    if any(_is_score(word) for word in words):
        return Direction.HIGHER
    is_score = (of_evaluation or is_evaluation(key)) and _NEITHER.isdisjoint(words)
    return Direction.HIGHER if is_score else None


def _words(key: str) -> set[str]:
    """Also those that a number follows, without it: loss2 is a loss."""
    found = {*_WORDS.findall(key.lower()), *_WORDS.findall(_CAMEL_CASE.sub(" ", key).lower())}
    return found | {word.rstrip("0123456789") for word in found}


def _is_score(word: str) -> bool:
    return word in _HIGHER or word.startswith(_HIGHER_PREFIXES) or word.endswith("score")


def is_loss(key: str) -> bool:
    return _LOSS.search(key) is not None


def is_evaluation(key: str) -> bool:
    """Whether the metric is measured on data that is not trained on, by its name."""
    return _EVALUATION.search(key) is not None


def important_metrics(counts: Mapping[str, int]) -> list[str]:
    """The few metrics to show of each run unless somebody chooses others: evaluation losses first,
    then losses, then what else is measured in an evaluation."""
    ranked = by_importance(counts)
    return [key for key in ranked if _rank(key) < 3][:MOST_IMPORTANT] or ranked[:2]


def by_importance(counts: Mapping[str, int]) -> list[str]:
    """All metrics but the host's, the important ones first and more common before rarer ones."""
    keys: Iterable[str] = (key for key in counts if not key.startswith(SYSTEM_PREFIX))
    return sorted(keys, key=lambda key: (_rank(key), -counts[key], key))


def _rank(key: str) -> int:
    if is_loss(key):
        return 0 if is_evaluation(key) else 1
    if _SETTINGS.search(key):
        return 4
    return 2 if is_evaluation(key) else 3
