"""Results of EleutherAI's lm-evaluation-harness: ``results_<time>.json`` in its output folder.

``{"results": {"mmlu": {"alias": "mmlu", "acc,none": 0.61, "acc_stderr,none": 0.004}}, "groups": …,
"configs": …, "versions": …, "n-shot": …, "model_name": …}``; a measure is named with the filter of
the answers after a comma. Before version 0.4 there were no filters. Written by EvaluationTracker:
https://github.com/EleutherAI/lm-evaluation-harness/blob/main/lm_eval/loggers/evaluation_tracker.py
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

# What else the harness writes, one of which every version has.
_MARKS: Final = ("versions", "n-shot", "higher_is_better", "task_hashes")
_NOT_MEASURED: Final = ("sample_len", "sample_count")
_NO_FILTER: Final = ("", "none")
_NAME: Final = re.compile(r"(?:\A|/)results_\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?\.json\Z")


def is_named_so(path: str) -> bool:
    """Whether ``path`` is named as the harness names its results."""
    return _NAME.search(path) is not None


def is_harness(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("results"), dict):
        return False
    tasks = value["results"].values()
    is_marked = any(isinstance(value.get(mark), dict) for mark in _MARKS)
    return is_marked and all(isinstance(task, dict) for task in tasks)


def measures(value: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Of each task and group the measures, without standard errors and the filter "none"."""
    groups = value.get("groups")
    tasks = {**(groups if isinstance(groups, dict) else {}), **value["results"]}
    return {
        task: {_name(key): item for key, item in measured.items() if _is_measure(key)}
        for task, measured in tasks.items()
        if isinstance(measured, dict)
    }


def _is_measure(key: str) -> bool:
    name = key.partition(",")[0]
    return not name.endswith("_stderr") and name not in _NOT_MEASURED


def _name(key: str) -> str:
    name, _comma, answers = key.partition(",")
    return name if answers in _NO_FILTER else key
