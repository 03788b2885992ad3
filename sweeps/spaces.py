"""Search spaces: the check of what somebody asks for, and the points of a grid. Pure functions.

A space maps each hyperparameter's name to what it may be:

    {"learning_rate": {"type": "float", "low": 1e-5, "high": 1e-2, "log": true},
     "batch_size": {"type": "int", "low": 8, "high": 64, "step": 8},
     "optimizer": {"type": "categorical", "choices": ["adamw", "lion"]}}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from typing import Any, Final, TypeAlias

from django.utils.translation import gettext as _

from core.exceptions import InvalidInput
from core.text import MAX_KEY_LENGTH
from projects.hyperparameters import KNOWN, check_hyperparameters

Space: TypeAlias = dict[str, dict[str, Any]]

MAX_NAMES: Final = 50
MAX_CHOICES: Final = 1000
MAX_TRIALS: Final = 5000  # of a sweep, and points of a grid
MAX_INTEGER: Final = 2**53  # beyond it, floats skip integers
MAX_FLOAT: Final = 1e300  # the width of a range must be finite
MAX_CHOICE_LENGTH: Final = 1000
_NUMERIC: Final = frozenset({"type", "low", "high", "log", "step", "count"})
_KEYS: Final = {
    "float": _NUMERIC,
    "int": _NUMERIC,
    "categorical": frozenset({"type", "choices"}),
}


class InvalidSpace(InvalidInput):
    code = "invalid_search_space"

    def __init__(self, message: str) -> None:
        super().__init__(message, attr="search_space")


def check_space(value: Any, *, is_grid: bool) -> Space:
    """``value`` with every number in its own type, by name. Raises InvalidSpace."""
    if not isinstance(value, dict) or not 1 <= len(value) <= MAX_NAMES:
        raise InvalidSpace(
            _("A search space must be a JSON object with 1 to %(limit)d names.")
            % {"limit": MAX_NAMES}
        )
    space = {name: _checked(name, value[name], is_grid=is_grid) for name in sorted(value)}
    if is_grid:
        points = math.prod(len(values) for values in grid_of(space).values())
        if points > MAX_TRIALS:
            raise InvalidSpace(
                _("The grid has %(points)d points; at most %(limit)d are possible.")
                % {"points": points, "limit": MAX_TRIALS}
            )
    return space


def grid_of(space: Space) -> dict[str, list[Any]]:
    """The values of each hyperparameter. ``space``: checked for a grid."""
    return {name: _values(domain) for name, domain in space.items()}


def _checked(name: str, domain: Any, *, is_grid: bool) -> dict[str, Any]:
    if "\x00" in name or not 1 <= len(name) <= MAX_KEY_LENGTH:
        raise InvalidSpace(
            _("A hyperparameter name must have 1 to %(limit)d characters.")
            % {"limit": MAX_KEY_LENGTH}
        )
    if not isinstance(domain, dict):
        raise _bad(name, _("a JSON object is expected."))
    kind = domain.get("type")
    if not isinstance(kind, str) or kind not in _KEYS:
        raise _bad(name, _("the type must be one of %(types)s.") % {"types": ", ".join(_KEYS)})
    _refuse_unknown(name, domain, _KEYS[kind] if is_grid else _KEYS[kind] - {"count"})
    if kind == "categorical":
        checked: dict[str, Any] = {"type": kind, "choices": _choices(name, domain)}
        examples = checked["choices"]
    else:
        checked = _numeric(name, kind, domain, is_grid=is_grid)
        examples = [checked["low"], checked["high"]]
    for example in examples:
        _check_hyperparameter(name, example)
    return checked


def _refuse_unknown(name: str, domain: Mapping[str, Any], known: Collection[str]) -> None:
    unknown = sorted(key for key in domain if key not in known)
    if unknown:
        raise _bad(
            name,
            _("unknown key: %(key)s. Known: %(known)s.")
            % {"key": unknown[0][:MAX_KEY_LENGTH], "known": ", ".join(sorted(known))},
        )


def _choices(name: str, domain: Mapping[str, Any]) -> list[Any]:
    choices = domain.get("choices")
    if not isinstance(choices, list) or not 1 <= len(choices) <= MAX_CHOICES:
        raise _bad(
            name, _("choices must be a list of 1 to %(limit)d values.") % {"limit": MAX_CHOICES}
        )
    if not all(_is_choice(choice) for choice in choices):
        raise _bad(name, _("a choice must be a text, a finite number, true, false or null."))
    # As Optuna compares them: 1, 1.0 and true are equal.
    if any(choice in choices[:place] for place, choice in enumerate(choices)):
        raise _bad(name, _("two choices are equal."))
    return choices


def _is_choice(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_CHOICE_LENGTH and "\x00" not in value
    if isinstance(value, bool) or value is None:
        return True
    return _is_number(value)


def _is_number(value: Any) -> bool:
    if type(value) is int:
        return abs(value) <= MAX_INTEGER
    return type(value) is float and abs(value) <= MAX_FLOAT  # NaN is not


def _numeric(name: str, kind: str, domain: Mapping[str, Any], *, is_grid: bool) -> dict[str, Any]:
    low, high = (_bound(name, kind, domain, key) for key in ("low", "high"))
    log = domain.get("log", False)
    if not isinstance(log, bool):
        raise _bad(name, _("log must be true or false."))
    if low > high:
        raise _bad(name, _("low must not be above high."))
    if log and low <= 0:
        raise _bad(name, _("with log, low must be above 0."))
    checked: dict[str, Any] = {"type": kind, "low": low, "high": high, "log": log}
    if domain.get("step") is not None:
        checked["step"] = _step(name, kind, domain, low, high)
    if log and "step" in checked:
        raise _bad(name, _("log and step exclude each other."))
    if is_grid:
        checked |= _count(name, checked, domain)
    return checked


def _bound(name: str, kind: str, domain: Mapping[str, Any], key: str) -> Any:
    value = domain.get(key)
    if not _is_number(value):
        raise _bad(name, _("%(key)s must be a finite number.") % {"key": key})
    return _typed(name, kind, key, value)


def _typed(name: str, kind: str, key: str, value: Any) -> Any:
    if kind == "float":
        return float(value)
    if value != int(value):
        raise _bad(name, _("%(key)s must be a whole number.") % {"key": key})
    return int(value)


def _step(name: str, kind: str, domain: Mapping[str, Any], low: Any, high: Any) -> Any:
    step = _bound(name, kind, domain, "step")
    if step <= 0:
        raise _bad(name, _("step must be above 0."))
    steps = (_exact(high) - _exact(low)) / _exact(step)
    if steps.denominator != 1 or steps > MAX_INTEGER:
        raise _bad(name, _("high must be low plus a whole number of steps."))
    return step


def _exact(number: float) -> Fraction:
    """As it is written: 0.1 is a tenth."""
    return Fraction(repr(number))


def _count(name: str, checked: Mapping[str, Any], domain: Mapping[str, Any]) -> dict[str, int]:
    """How many values the grid takes of a range; nothing if its step says it."""
    count = domain.get("count")
    if count is None:
        if checked["type"] == "float" and "step" not in checked:
            raise _bad(name, _("a grid needs a count or a step of a float."))
        span = _exact(checked["high"]) - _exact(checked["low"])
        if span / _exact(checked.get("step", 1)) >= MAX_TRIALS:
            raise _bad(name, _("a grid takes at most %(limit)d values.") % {"limit": MAX_TRIALS})
        return {}
    if type(count) is not int or not 1 <= count <= MAX_TRIALS:
        raise _bad(
            name, _("count must be a whole number from 1 to %(limit)d.") % {"limit": MAX_TRIALS}
        )
    if "step" in checked:
        raise _bad(name, _("count and step exclude each other."))
    return {"count": count}


def _values(domain: Mapping[str, Any]) -> list[Any]:
    if domain["type"] == "categorical":
        choices: list[Any] = domain["choices"]
        return choices
    low, high = domain["low"], domain["high"]
    if "count" not in domain:
        return _stepped(domain)
    typed: Callable[[float], Any] = round if domain["type"] == "int" else float
    inner = [typed(value) for value in _spread(low, high, domain["count"], log=domain["log"])]
    return sorted({min(high, max(low, value)) for value in inner})


def _stepped(domain: Mapping[str, Any]) -> list[Any]:
    low, high = domain["low"], domain["high"]
    if domain["type"] == "int":
        return list(range(low, high + 1, domain.get("step", 1)))
    first, step = _exact(low), _exact(domain["step"])
    return [float(first + step * place) for place in range(int((_exact(high) - first) / step) + 1)]


def _spread(low: float, high: float, count: int, *, log: bool) -> list[float]:
    """``count`` values at equal distances, or ratios, with both ends; of one, the lower."""
    if count == 1:
        return [low]
    shares = [place / (count - 1) for place in range(count)]
    if log:
        first, last = math.log(low), math.log(high)
        inner = [math.exp(first + share * (last - first)) for share in shares]
    else:
        inner = [low * (1 - share) + high * share for share in shares]
    return [low, *inner[1:-1], high]


def _check_hyperparameter(name: str, value: Any) -> None:
    """What every run would refuse is refused before there is any."""
    if name in KNOWN:
        try:
            check_hyperparameters({name: value})
        except InvalidInput as error:
            raise InvalidSpace(str(error.message)) from error


def _bad(name: str, why: str) -> InvalidSpace:
    return InvalidSpace(_("%(name)s: %(why)s") % {"name": name, "why": why})
