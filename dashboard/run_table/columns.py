"""The columns of the table. Each has a name for addresses, its ``spec``: ``status``, ``params.lr``,
``metrics.eval_loss``, ``tags.team``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from core.text import MAX_KEY_LENGTH
from metrics.goals import Direction, direction_of


class Kind(StrEnum):
    ATTRIBUTE = "attribute"  # of the run itself
    PARAM = "param"
    METRIC = "metric"
    TAG = "tag"


class Value(StrEnum):
    """Which value of a metric a column shows; the prefix of its spec."""

    LAST = "metrics"
    MINIMUM = "min"
    MAXIMUM = "max"
    BEST = "best"
    AT_BEST = "at_best"  # at the step at which the project's main metric was best


VALUE_LABELS: Final = {
    Value.LAST: _("last"),
    Value.MINIMUM: _("min"),
    Value.MAXIMUM: _("max"),
    Value.BEST: _("best"),
    Value.AT_BEST: _("at best step"),
}


@dataclass(frozen=True, slots=True)
class Attribute:
    label: str | Promise
    is_numeric: bool = False
    descending: bool = False  # the order that a first click on its header asks for


ATTRIBUTES: Final[dict[str, Attribute]] = {
    "name": Attribute(_("Name")),
    "status": Attribute(_("State")),
    "progress": Attribute(_("Progress"), is_numeric=True, descending=True),
    "step": Attribute(_("Step"), is_numeric=True, descending=True),
    "started": Attribute(_("Started"), descending=True),
    "created": Attribute(_("Created"), descending=True),
    "duration": Attribute(_("Duration"), is_numeric=True, descending=True),
    "gpus": Attribute(_("GPUs"), is_numeric=True, descending=True),
    "gpu_hours": Attribute(_("GPU-hours"), is_numeric=True, descending=True),
    "who": Attribute(_("By")),
    "checkpoint_tags": Attribute(_("Checkpoint tags"), descending=True),
    "model": Attribute(_("Model")),
    "dataset": Attribute(_("Dataset")),
    "recipe": Attribute(_("Recipe")),
    "priority": Attribute(_("Priority"), is_numeric=True, descending=True),
}
# Names of columns in addresses of earlier versions.
ALIASES: Final = {"created_at": "created", "started_at": "started", "tags": "checkpoint_tags"}
NAMES_IN_FILTERS: Final = {"checkpoint_tags": "checkpoint_tag"}
PREFIXES: Final = {
    "params": (Kind.PARAM, Value.LAST),
    "tags": (Kind.TAG, Value.LAST),
    **{value.value: (Kind.METRIC, value) for value in Value},
}
_BARE: Final = re.compile(r"[\w./:\-]+")


@dataclass(frozen=True, slots=True)
class Column:
    kind: Kind
    key: str
    value: Value = Value.LAST

    @property
    def spec(self) -> str:
        return f"{self.prefix}.{self.key}" if self.prefix else self.key

    @property
    def prefix(self) -> str:
        if self.kind is Kind.ATTRIBUTE:
            return ""
        return {Kind.PARAM: "params", Kind.TAG: "tags"}.get(self.kind, self.value.value)

    @property
    def label(self) -> str:
        return str(ATTRIBUTES[self.key].label) if self.kind is Kind.ATTRIBUTE else self.key

    @property
    def note(self) -> str:
        """Which value of the metric it is, unless it is the last."""
        is_told = self.kind is Kind.METRIC and self.value is not Value.LAST
        return str(VALUE_LABELS[self.value]) if is_told else ""

    @property
    def is_metric(self) -> bool:
        return self.kind is Kind.METRIC

    @property
    def is_sortable(self) -> bool:
        return self.has_value or self.is_at_best

    @property
    def is_at_best(self) -> bool:
        return self.is_metric and self.value is Value.AT_BEST

    @property
    def has_value(self) -> bool:
        """Whether runs can be grouped and filtered by it. Not by a metric's value where another is
        best, nor by its best if the name does not tell which that is."""
        if self.value is Value.BEST:
            return self.direction is not None
        return self.value is not Value.AT_BEST

    @property
    def is_groupable(self) -> bool:
        """Whether runs can be grouped by their values."""
        return self.kind in (Kind.PARAM, Kind.TAG) or self.spec in GROUPABLE

    @property
    def direction(self) -> Direction | None:
        """For a metric: which is better."""
        return direction_of(self.key)

    @property
    def descends_first(self) -> bool:
        """Whether a first click on the header sorts from the greatest down."""
        if self.kind is Kind.ATTRIBUTE:
            return ATTRIBUTES[self.key].descending
        return self.kind is Kind.METRIC and self.direction is not Direction.LOWER

    @property
    def name_in_filters(self) -> str:
        """The column in the language of the filter; empty if it cannot be named there."""
        if self.kind is Kind.ATTRIBUTE:
            return NAMES_IN_FILTERS.get(self.key, self.key)
        if not self.has_value:
            return ""
        return name_in_filters(self.prefix, self.key)


GROUPABLE: Final = frozenset({"status", "who", "model", "dataset", "recipe", "gpus"})
NAME: Final = Column(Kind.ATTRIBUTE, "name")


def name_in_filters(prefix: str, key: str) -> str:
    """``key`` quoted as the filter language needs it; empty if it has both kinds of quotes."""
    if _BARE.fullmatch(key):
        return f"{prefix}.{key}"
    quote = next((quote for quote in '`"' if quote not in key), "")
    return f"{prefix}.{quote}{key}{quote}" if quote else ""


def text_in_filters(text: str) -> str:
    """``text`` as a quoted string of the filter language."""
    return '"' + text.replace('"', '""') + '"'


def parse_column(spec: str) -> Column | None:
    """The column of that name; None if there can be none."""
    spec = ALIASES.get(spec, spec)
    if spec in ATTRIBUTES:
        return Column(Kind.ATTRIBUTE, spec)
    prefix, _dot, key = spec.partition(".")
    if prefix not in PREFIXES or not 1 <= len(key) <= MAX_KEY_LENGTH or "\x00" in key:
        return None
    kind, value = PREFIXES[prefix]
    return Column(kind, key, value)
