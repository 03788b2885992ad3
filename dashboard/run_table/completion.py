"""What the text of a filter may go on with: names of the project's columns, operators, values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from django.db.models import TextChoices
from django.utils.translation import gettext as _

from artifacts.kinds import TagValue
from dashboard.run_table.columns import name_in_filters, text_in_filters
from dashboard.run_table.query import Known
from dashboard.run_table.search import names_of_attributes
from metrics.goals import by_importance, direction_of
from runs.models import FailureKind
from runs.status import RunStatus

MAX_OFFERED: Final = 40
_SEPARATORS: Final = re.compile(r"[\s/_.:\-`\"]")


@dataclass(frozen=True, slots=True)
class Suggestion:
    text: str  # to insert
    what: str  # what it is, for people


def names(known: Known, part: str) -> list[Suggestion]:
    """The columns whose name contains ``part``; those that begin with it first."""
    wanted = _letters(part)
    found = [suggestion for suggestion in _all_names(known) if wanted in _letters(suggestion.text)]
    found.sort(key=lambda suggestion: not _begins(suggestion.text, wanted))
    return found[:MAX_OFFERED]


def _begins(text: str, wanted: str) -> bool:
    prefix, _dot, key = text.partition(".")
    return _letters(text).startswith(wanted) or _letters(key or prefix).startswith(wanted)


def _letters(text: str) -> str:
    """``text`` without its separators: eval_loss finds eval/loss."""
    return _SEPARATORS.sub("", text.casefold())


def _all_names(known: Known) -> Iterable[Suggestion]:
    for key in by_importance(known.metrics):
        yield Suggestion(name_in_filters("metrics", key), _("last value of the metric"))
    for key in known.params:
        yield Suggestion(name_in_filters("params", key), _("hyperparameter"))
    for name in names_of_attributes():
        yield Suggestion(name, _("of the run"))
    for key in known.tags:
        yield Suggestion(name_in_filters("tags", key), _("tag"))
    for value, what in (
        ("best", _("best value")),
        ("min", _("least value")),
        ("max", _("greatest value")),
    ):
        for key in by_importance(known.metrics):
            if value != "best" or direction_of(key) is not None:
                yield Suggestion(name_in_filters(value, key), what)


def examples(known: Known) -> list[Suggestion]:
    """Filters that show what the language can say, with names of the project where it has them."""
    metric = known.main_metric or "eval_loss"
    rates = (key for key in known.params if key in ("lr", "learning_rate"))
    param = next(rates, next(iter(known.differing or known.params), "lr"))
    found = [
        (f"{name_in_filters('metrics', metric)} < 2", _("last value of a metric; also min., max.")),
        (
            f"{name_in_filters('params', param)} <= 3e-4",
            _("hyperparameters, by their numbers"),
        ),
        (
            f'status = {text_in_filters(RunStatus.FAILED)} or failure = "out_of_memory"',
            _("states and reasons"),
        ),
        ('started >= "2026-11-28T10:00" and duration > 3600', _("times, and seconds")),
        ('name ILIKE "%sft%" and (tags.team = "nlp" or gpus >= 8)', _("parts of texts, tags")),
    ]
    return [Suggestion(text, what) for text, what in found]


def values() -> dict[str, list[dict[str, str]]]:
    """The values that an attribute can have, by its name, as JSON."""
    choices: dict[str, type[TextChoices]] = {
        "status": RunStatus,
        "checkpoint_tag": TagValue,
        "failure": FailureKind,
    }
    return {
        name: [{"text": text_in_filters(item.value), "what": str(item.label)} for item in known]
        for name, known in choices.items()
    }
