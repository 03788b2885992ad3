"""What the name of a metric tells: whether less or more of it is better, and which ones matter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from runs.system_metrics import PREFIX as SYSTEM_PREFIX

# Words of a name. eval_rougeL -> eval, rougel; pass@1 -> pass, 1.
_WORDS: Final = re.compile(r"[a-z]+[0-9]*|[0-9]+")
# These decide, whatever else the name says: reward_loss is a loss.
_LESS_IS_BETTER: Final = frozenset({"loss", "perplexity", "ppl", "error", "errors", "time", "nll"})
_MORE_IS_BETTER: Final = frozenset(
    {
        *("acc", "accuracy", "precision", "recall", "auc", "auroc", "ap", "map", "ndcg", "mrr"),
        *("reward", "rewards", "return", "margin", "margins", "score", "scores", "win", "wins"),
        *("meteor", "bertscore", "chrf", "exact", "em", "pass", "iou", "dice", "psnr", "ssim"),
        *("r2", "mcc", "likelihood", "throughput", "mfu", "correct", "correlation"),
        # Benchmarks of language models, which tell the share of right answers.
        *("mmlu", "cmmlu", "ceval", "hellaswag", "arc", "piqa", "siqa", "boolq", "winogrande"),
        *("openbookqa", "truthfulqa", "triviaqa", "commonsenseqa", "gpqa", "squad", "bbh"),
        *("humaneval", "mbpp", "ifeval", "agieval", "lambada", "race", "gsm8", "math"),
    }
)
_MORE_IS_BETTER_PREFIXES: Final = ("bleu", "rouge", "f1", "accuracy", "pass", "recall", "hits")
_LOSS: Final = re.compile(r"(?:\A|[_/.\-])(?:loss|nll)(?:\Z|[_/.\-])", re.IGNORECASE)
_EVALUATION: Final = re.compile(r"\A(?:eval|val|valid|validation|dev|test)[a-z]*[_/.\-]", re.I)
# What says how a training is set and how far it is, not how well it goes.
_SETTINGS: Final = re.compile(
    r"(?:\A|[_/.\-])(?:epoch|lr|learning_rate|step|global_step|grad_norm|gpu_utilization)\Z", re.I
)
MOST_IMPORTANT: Final = 4


def less_is_better(key: str) -> bool:
    """Whether the best value of the metric is its minimum, as of losses, perplexities, errors and
    times; not as of accuracies, benchmarks, rewards, BLEU, ROUGE and F1. Of unknown names: yes."""
    words = _WORDS.findall(key.lower())
    if not _LESS_IS_BETTER.isdisjoint(words):
        return True
    return not any(
        word in _MORE_IS_BETTER or word.startswith(_MORE_IS_BETTER_PREFIXES) for word in words
    )


def is_loss(key: str) -> bool:
    return _LOSS.search(key) is not None


def is_evaluation(key: str) -> bool:
    """Whether the metric is measured on data that is not trained on, by its name."""
    return _EVALUATION.match(key) is not None


def main_metric(counts: Mapping[str, int]) -> str | None:
    """The metric that tells which of a project's runs is best: an evaluation loss, else a loss,
    else the most common one. ``counts``: metric -> how many runs have it. None without metrics.
    """
    return next(iter(by_importance(counts)), None)


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
