"""Reads the numbers of an evaluation's JSON.

``{"results": {"mmlu": {"acc": 0.61}}}`` has one, ``results/mmlu/acc``. Of what EleutherAI's
lm-evaluation-harness writes, only the measures are read, ``mmlu/acc``: see harness_results.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from artifacts import harness_results
from core.messages import Message, Text
from core.numbers import MAX_BIGINT
from core.text import MAX_KEY_LENGTH, UNSTORABLE

MAX_BYTES: Final = 4 * 1024 * 1024  # results; a larger file has samples
MAX_NUMBERS: Final = 1000
MAX_NAME_LENGTH: Final = 500  # of a checkpoint

STEPS: Final = ("step", "global_step")
CHECKPOINTS: Final = ("checkpoint", "checkpoint_path", "model_name")  # the last: the harness's
NAMES: Final = ("name", "task", "metric")  # of the objects of a list


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a file tells. ``numbers``: key → value, all finite; ``step`` and ``checkpoint``: what it
    says to have evaluated, if it does; ``problem``: what of it is left out, and why;
    ``names_tasks``: whether the keys begin with the names of tasks, as a harness's do."""

    numbers: dict[str, float] = field(default_factory=dict)
    step: int | None = None
    checkpoint: str = ""
    problem: Text = ""
    names_tasks: bool = False


def read_evaluation(content: bytes) -> Evaluation:
    """Never raises: a file that cannot be read has no numbers."""
    if len(content) > MAX_BYTES:
        return Evaluation(problem=Message("it has more than %(limit)d bytes", limit=MAX_BYTES))
    try:
        value = json.loads(content)
        is_harness = harness_results.is_harness(value)
        measures = harness_results.measures(value) if is_harness else value
        found = list(islice(_numbers(measures, ""), MAX_NUMBERS + 1))
    except (ValueError, RecursionError):  # ValueError: also of the encoding
        return Evaluation(problem=Message("it is not valid JSON"))
    numbers = dict(found[:MAX_NUMBERS])
    problem: Text = ""
    if len(found) > MAX_NUMBERS:
        problem = Message("it has more than %(limit)d numbers", limit=MAX_NUMBERS)
    elif not numbers:
        problem = Message("it has no numbers")
    said = value if isinstance(value, dict) else {}
    return Evaluation(numbers, _step(said), _checkpoint(said), problem, is_harness)


def _numbers(value: Any, key: str) -> Iterator[tuple[str, float]]:
    """In the order of the file. Lists have no names for what is in them, unless their objects have:
    ``[{"task": "mmlu", "acc": 0.61}]``."""
    if isinstance(value, dict):
        for name, item in value.items():
            if key or name not in STEPS:
                yield from _numbers(item, f"{key}/{name}" if key else name)
    elif isinstance(value, list):
        for item in value:
            name = _name(item) if isinstance(item, dict) else ""
            if name:
                yield from _numbers(item, f"{key}/{name}" if key else name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = _float(value)
        if math.isfinite(number) and 0 < len(key) <= MAX_KEY_LENGTH and not UNSTORABLE.search(key):
            yield key, number


def _name(item: Mapping[str, Any]) -> str:
    return next((item[key] for key in NAMES if isinstance(item.get(key), str)), "")


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _step(said: Mapping[str, Any]) -> int | None:
    steps = (said.get(key) for key in STEPS)
    return next((it for it in steps if type(it) is int and 0 <= it <= MAX_BIGINT), None)


def _checkpoint(said: Mapping[str, Any]) -> str:
    for key in CHECKPOINTS:
        name = said.get(key)
        if isinstance(name, str) and 0 < len(name) <= MAX_NAME_LENGTH:
            return "" if UNSTORABLE.search(name) else name.rstrip("/")
    return ""
