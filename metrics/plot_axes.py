"""The axes of a picture of curves: their ranges and ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np

from core.times import EPOCH, YEAR_1_MS, YEAR_9999_MS
from metrics.curve_queries import Numbers

# As static/js/charts/fit.js has it: the 1st to the 99th percentile, unless all values take no more
# than twice the space.
LOW, HIGH = 0.01, 0.99
FEW: Final = 10
SQUEEZED: Final = 2.0
MARGIN: Final = 0.05

MINUTE, HOUR, DAY = 60, 3600, 86_400
# Distances of ticks of times, in seconds.
TIME_STEPS: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(MINUTE * n for n in (1, 2, 5, 10, 15, 30)),
    *(HOUR * n for n in (1, 2, 3, 6, 12)),
    *(DAY * n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
)


@dataclass(frozen=True, slots=True)
class Range:
    low: float
    high: float


def fitted(lows: Numbers, highs: Numbers, *, log: bool) -> Range:
    """The range of the y axis for these minima and maxima; what is not finite is ignored, and on a
    log scale what is not positive."""
    lows, highs = (np.sort(column[_drawable(column, log=log)]) for column in (lows, highs))
    if not len(lows) or not len(highs):
        return Range(0.1, 1.0) if log else Range(0.0, 1.0)
    low, high = float(lows[0]), float(highs[-1])

    def size(start: float, end: float) -> float:
        return math.log10(end) - math.log10(start) if log else end - start

    if len(highs) >= FEW:
        common_low = float(lows[math.ceil((len(lows) - 1) * LOW)])
        common_high = float(highs[math.floor((len(highs) - 1) * HIGH)])
        most = size(common_low, common_high) * SQUEEZED
        if size(low, high) > most:
            is_high_far, is_low_far = size(common_low, high) > most, size(low, common_high) > most
            # Whichever end is not far off is shown all the same, and what is near the percentile.
            if is_high_far:
                near = (float(value) for value in highs[::-1] if size(common_low, value) <= most)
                high = next(near, common_high)
            if is_low_far:
                near = (float(value) for value in lows if size(value, common_high) <= most)
                low = next(near, common_low)
    return _roomy_log(low, high) if log else _roomy(low, high)


def _drawable(column: Numbers, *, log: bool) -> Numbers:
    is_finite: Numbers = np.isfinite(column)
    return is_finite & (column > 0) if log else is_finite


def _roomy(low: float, high: float) -> Range:
    room = (high - low) * MARGIN if high > low else abs(low) * 0.1 or 1.0
    if not math.isfinite(room):  # of values near the largest doubles
        return Range(low, high)
    return Range(low - room, high + room)


def _roomy_log(low: float, high: float) -> Range:
    if low == high:
        return Range(low / 2, min(high * 2, 1.7e308))
    room = math.pow(10, (math.log10(high) - math.log10(low)) * MARGIN)
    return Range(low / room, min(high * room, 1.7e308))


def ticks(span: Range, most: int, *, log: bool = False) -> list[float]:
    """At most about ``most`` round numbers in the range; powers of ten on a log scale."""
    if log:
        first, last = math.ceil(math.log10(span.low)), math.floor(math.log10(span.high))
        if last - first >= 1:
            powers = max(1, math.ceil((last - first + 1) / most))
            return [10.0**power for power in range(first, last + 1, powers)]
    size = span.high - span.low
    if not (math.isfinite(size) and size > 0):
        return [span.low]
    rough = size / max(1, most)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return _multiples(span, step)


def time_ticks(span: Range, most: int) -> list[float]:
    """The same for a range of seconds: whole minutes, hours, days."""
    rough = (span.high - span.low) / max(1, most)
    step = next((float(step) for step in TIME_STEPS if step >= rough), None)
    return ticks(span, most) if step is None else _multiples(span, step)


def _multiples(span: Range, step: float) -> list[float]:
    first, last = math.ceil(span.low / step - 1e-9), math.floor(span.high / step + 1e-9)
    return [number * step for number in range(first, min(last, first + 100) + 1)]


def number_text(value: float) -> str:
    """Five significant digits."""
    if value == 0 or abs(value) < 1e-300:
        return "0"
    text = f"{value:.5g}" if 1e-3 <= abs(value) < 1e5 else f"{value:.3g}"
    mantissa, _e, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else text


def step_text(value: float) -> str:
    """1200 as it is, 1200000 as 1.2M."""
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if unit * (10 if unit == 1e3 else 1) <= abs(value) < unit * 1e4:
            return f"{value / unit:.4g}{suffix}"
    return number_text(value)


def duration_text(seconds: float) -> str:
    """As 1 d 2:03:04, in every language: pictures are passed on to readers of others."""
    sign = "-" if seconds < 0 else ""
    days, rest = divmod(abs(round(seconds)), DAY)
    clock = f"{rest // HOUR}:{rest // MINUTE % 60:02d}:{rest % 60:02d}"
    return f"{sign}{days} d {clock}" if days else sign + clock


def clock_texts(seconds: Sequence[float]) -> list[str]:
    """Times in UTC, as exact as their distances need."""
    whole_days = all(second % DAY == 0 for second in seconds)
    form = "%Y-%m-%d" if whole_days else "%m-%d %H:%M"
    if len(seconds) > 1 and seconds[1] - seconds[0] < MINUTE:
        form = "%H:%M:%S"
    return [
        (EPOCH + timedelta(seconds=second)).strftime(form)
        if YEAR_1_MS <= second * 1000 <= YEAR_9999_MS
        else number_text(second)
        for second in seconds
    ]
