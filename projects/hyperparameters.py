"""Validation of hyperparameters: any JSON object within limits, with ranges for known names."""

import math
import re
from collections.abc import Callable
from typing import Any

import orjson
from django.utils.translation import gettext as _

from core.exceptions import InvalidInput
from core.numbers import MAX_BIGINT
from core.text import MAX_KEY_LENGTH

MAX_BYTES = 64 * 1024
MAX_KEYS = 500
MAX_DEPTH = 20
MAX_STEPS = 10_000_000


def _is_integer(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _is_number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: (
        type(value) in (int, float) and math.isfinite(value) and low <= value <= high
    )


# Name -> its check, and the valid range as text. A learning rate of 100 is unwise but not invalid:
# the run may try it and fail.
KNOWN: dict[str, tuple[Callable[[Any], bool], str]] = {
    "learning_rate": (_is_number(0, 1e6), "0 … 1e6"),
    "batch_size": (_is_integer(1, 1_000_000), "1 … 1000000"),
    "num_epochs": (_is_number(1e-6, 100_000), "> 0 … 100000"),
    "max_steps": (_is_integer(1, MAX_STEPS), f"1 … {MAX_STEPS}"),
    "seed": (_is_integer(0, MAX_BIGINT), "0 … 2^63-1"),
    "eval_steps": (_is_integer(1, MAX_STEPS), f"1 … {MAX_STEPS}"),
    "save_steps": (_is_integer(1, MAX_STEPS), f"1 … {MAX_STEPS}"),
    "logging_steps": (_is_integer(1, MAX_STEPS), f"1 … {MAX_STEPS}"),
}


class InvalidHyperparameters(InvalidInput):
    code = "invalid_hyperparameters"


def check_hyperparameters(value: Any) -> dict[str, Any]:
    """Return ``value`` if it is valid. Raises InvalidHyperparameters with the name and reason."""
    if not isinstance(value, dict):
        raise InvalidHyperparameters(_("Hyperparameters must be a JSON object."))
    # Check before measuring the size: orjson rejects deep nesting.
    if not _storable(value, depth=0):
        raise InvalidHyperparameters(
            _(
                "Hyperparameters must not contain NUL characters, NaN, infinities or more than "
                "%(depth)d levels."
            )
            % {"depth": MAX_DEPTH}
        )
    if len(value) > MAX_KEYS or len(orjson.dumps(value)) > MAX_BYTES:
        raise InvalidHyperparameters(
            _("Hyperparameters can have at most %(keys)d names and %(bytes)d bytes.")
            % {"keys": MAX_KEYS, "bytes": MAX_BYTES}
        )
    for name, item in value.items():
        if not 1 <= len(name) <= MAX_KEY_LENGTH:
            raise InvalidHyperparameters(
                _("A hyperparameter name must have 1 to %(limit)d characters.")
                % {"limit": MAX_KEY_LENGTH}
            )
        if name in KNOWN and not KNOWN[name][0](item):
            raise InvalidHyperparameters(
                _("%(name)s must be a number in %(range)s.")
                % {"name": name, "range": KNOWN[name][1]}
            )
    return value


def _storable(value: Any, depth: int) -> bool:
    """Whether jsonb can store ``value``."""
    if depth > MAX_DEPTH:
        return False
    if isinstance(value, str):
        return "\x00" not in value
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(
            _storable(name, depth) and _storable(item, depth + 1) for name, item in value.items()
        )
    if isinstance(value, list):
        return all(_storable(item, depth + 1) for item in value)
    return True


def from_texts(reported: dict[str, Any]) -> dict[str, Any]:
    """Turn params reported by a script into hyperparameters: known names become numbers.

    Drops invalid values, e.g. a max_steps of -1, which some libraries use for "no limit".
    """
    params = {
        name: number_of(value) if name in KNOWN and isinstance(value, str) else value
        for name, value in reported.items()
    }
    return {
        name: value for name, value in params.items() if name not in KNOWN or KNOWN[name][0](value)
    }


def number_of(text: str) -> int | float | None:
    """Parse a decimal number; None if ``text`` is not one or is infinite."""
    if len(text) <= 64 and re.fullmatch(r"[+-]?[0-9]+", text):
        return int(text)
    if len(text) <= 64 and re.fullmatch(
        r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", text
    ):
        number = float(text)
        return number if abs(number) != float("inf") else None
    return None
