"""How many tokens a second a run trains on.

The first of these that the run reports, by the last part of its metrics' names (``train/``,
``perf.`` and the like before it are ignored, and so are case and hyphens):

1. a rate of tokens: ``tokens_per_second``, ``tokens_per_sec``, ``tokens/s``, ``tok/s``, ``tps`` …:
   its last value;
2. a count of tokens that rises: ``num_input_tokens_seen``, ``tokens_seen``, ``consumed_tokens``,
   ``num_tokens`` …: how much it has risen over its last points, by their times;
3. a rate whose name does not say of what: ``throughput``; or one of samples:
   ``samples_per_second`` …: its last value.

The rate of one GPU (``tokens_per_gpu_per_second``, ``tokens_per_second_per_gpu``) is times the GPUs
of the run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from metrics.pace_queries import recent_points
from runs.models import Run
from runs.system_metrics import PREFIX

RECENT_POINTS: Final = 64

_PER: Final = r"(?:_?per_?|_?/_?)"
_SECOND: Final = r"(?:s|sec|secs|second|seconds)"
_GPU: Final = r"(?:gpu|device|chip)"
_TOKENS: Final = r"(?:train_|training_)?(?:tok|toks|token|tokens|input_tokens|num_tokens)"
TOKEN_RATE: Final = re.compile(rf"{_TOKENS}{_PER}{_SECOND}|tps|token_throughput|throughput_tokens")
TOKEN_RATE_OF_GPU: Final = re.compile(
    rf"{_TOKENS}{_PER}{_GPU}{_PER}{_SECOND}|{_TOKENS}{_PER}{_SECOND}{_PER}{_GPU}|tgs"
)
TOKEN_COUNT: Final = re.compile(
    r"(?:num_|total_|n_)?(?:input_)?tokens(?:_seen|_consumed|_processed|_trained|_total)?"
    r"|consumed_tokens|seen_tokens|trained_tokens|processed_tokens"
)
OTHER_RATE: Final = re.compile(
    rf"throughput|(?:train_|training_)?(?:samples?|sequences?|examples?){_PER}{_SECOND}"
)


class Unit(StrEnum):
    TOKENS = "tokens"
    SAMPLES = "samples"
    UNKNOWN = ""


@dataclass(frozen=True, slots=True)
class Throughput:
    key: str  # the metric that tells it
    per_second: float
    unit: Unit


def throughput(run: Run) -> Throughput | None:
    """None if no metric of the run tells it."""
    metrics = run.metrics
    keys = sorted(key for key in metrics if not key.startswith(PREFIX))
    for pattern, factor in ((TOKEN_RATE, 1), (TOKEN_RATE_OF_GPU, max(1, run.gpu_count))):
        for key in _matching(keys, pattern):
            if (rate := _positive(metrics[key])) is not None:
                return Throughput(key, rate * factor, Unit.TOKENS)
    for key in _matching(keys, TOKEN_COUNT):
        if (rate := rise(recent_points(run.pk, key, RECENT_POINTS))) is not None:
            return Throughput(key, rate, Unit.TOKENS)
    for key in _matching(keys, OTHER_RATE):
        if (rate := _positive(metrics[key])) is not None:
            unit = Unit.UNKNOWN if "throughput" in key.lower() else Unit.SAMPLES
            return Throughput(key, rate, unit)
    return None


def _matching(keys: Iterable[str], pattern: re.Pattern[str]) -> list[str]:
    return [key for key in keys if any(pattern.fullmatch(name) for name in _names(key))]


def _names(key: str) -> set[str]:
    """The key without what is before its last separator, also if that is a part of the name:
    ``perf/tokens/s``."""
    plain = key.lower().replace("-", "_").replace(" ", "_")
    parts = re.split(r"[/.:]", plain)
    return {plain, parts[-1], "/".join(parts[-2:])}


def _positive(value: object) -> float | None:
    """The latest value of a metric as runs hold it: NaN and infinities are text."""
    if isinstance(value, int | float) and math.isfinite(value) and value >= 0:
        return float(value)
    return None


def rise(points: list[tuple[int, float]]) -> float | None:
    """How much a count of (Unix milliseconds, value), the newest first, rises in a second; as far
    back as it has not fallen, as it does where a run starts again."""
    last_ms, last = points[0] if points else (0, math.nan)
    first_ms, first = last_ms, last
    for at_ms, value in points[1:]:
        if not (value <= first and at_ms <= first_ms):  # also of NaN
            break
        first_ms, first = at_ms, value
    rose = last - first
    if last_ms == first_ms or not math.isfinite(rose) or rose <= 0:
        return None
    return rose * 1000 / (last_ms - first_ms)
