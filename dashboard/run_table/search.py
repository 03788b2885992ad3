"""The filter language of the table: MLflow's (tracking/filters.py) with more names.

min.eval_loss < 2 and params.lr <= 3e-4 and status = "已失败" and checkpoint_tag = "发布"
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final

from django.db.models import (
    Case,
    Exists,
    F,
    FilteredRelation,
    FloatField,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Value,
    When,
)
from django.db.models.expressions import Combinable, CombinedExpression
from django.db.models.functions import Cast, Collate, Left, Length
from django.db.models.lookups import LessThanOrEqual, Regex
from django.utils.translation import gettext as _

from artifacts.kinds import TagValue
from artifacts.models import ArtifactTag
from core.choices import ContractChoices
from dashboard.run_table.times import span
from metrics.goals import Direction, direction_of
from runs.held_time import ELAPSED_SECONDS, HELD_SECONDS
from runs.models import FailureKind
from runs.param_values import MAX_NUMBER_LENGTH, MAX_TEXT, NUMBER
from runs.status import RunStatus
from sweeps.models import SweepTrial
from tracking.columns import USER, RunColumns
from tracking.conditions import Column, Kind, json_text, json_value, unknown_field
from tracking.errors import InvalidParameter
from tracking.filters import ENTITIES, Name
from tracking.vocabulary import STATUSES

# The value of a metric -> its column in MetricSeries.
SERIES_FIELDS: Final = {
    "metric": "last_value",
    "metrics": "last_value",
    "last": "last_value",
    "min": "minimum",
    "max": "maximum",
}
GPU_HOURS: Final = CombinedExpression(
    HELD_SECONDS * F("gpu_count"), "/", Value(3600.0), output_field=FloatField()
)


# The tags of checkpoints in the order in which runs are sorted by them, the greatest last.
TAG_ORDER: Final = (TagValue.ARCHIVED, TagValue.CANDIDATE, TagValue.RELEASED)


def has_tag(value: str) -> Exists:
    """Whether a checkpoint of the run has that tag. A join would list a run once per checkpoint."""
    return Exists(_tags_of_run().filter(value=value))


def _tags_of_run() -> QuerySet[ArtifactTag]:
    return ArtifactTag.objects.filter(artifact__run=OuterRef("pk"), artifact__deletion=None)


def in_sweep(sweep_id: str) -> Exists:
    """Whether the run is a trial of that sweep."""
    return Exists(SweepTrial.objects.filter(sweep=sweep_id, run=OuterRef("pk")))


def greatest_tag() -> Case:
    """The place in TAG_ORDER of the greatest tag of the run's checkpoints; NULL without tags."""
    places = [When(has_tag(tag), then=Value(place)) for place, tag in enumerate(TAG_ORDER)]
    return Case(*reversed(places), output_field=IntegerField())


def series_field(value: str, key: str) -> str:
    """The column of MetricSeries with that value of the metric: last, min, max or best. The name of
    a metric whose best is asked for tells which that is."""
    if value == "best":
        return "minimum" if direction_of(key) is Direction.LOWER else "maximum"
    return SERIES_FIELDS[value]


def denoted_status(text: str) -> str | None:
    """The status that ``text`` names: the contract's value, MLflow's, or its label."""
    return STATUSES.get(text.upper()) or _denoted(text, RunStatus)


def denoted_tag(text: str) -> str | None:
    return _denoted(text, TagValue)


def _denoted(text: str, choices: type[ContractChoices]) -> str | None:
    for choice in choices:
        if text.casefold() in (choice.value, choice.name.casefold(), str(choice.label).casefold()):
            return str(choice.value)
    return None


def denoted_failure(text: str) -> str | None:
    """The kind of failure that ``text`` names: its value, with spaces or not, or its label."""
    for kind in FailureKind:
        if text.casefold() in (
            kind.value,
            kind.value.replace("_", " "),
            str(kind.label).casefold(),
        ):
            return kind.value
    return None


def param_text(key: str) -> Combinable:
    """The hyperparameter's text to sort and group by, or NULL."""
    return Collate(Left(json_text("hyperparameters", key), MAX_TEXT), "C")


def param_number(key: str) -> Case:
    """The hyperparameter's number, also one that a script has reported as text; or NULL."""
    text = json_text("hyperparameters", key)
    is_number = Q(LessThanOrEqual(Length(text), MAX_NUMBER_LENGTH)) & Q(Regex(text, NUMBER))
    return Case(When(is_number, then=Cast(text, FloatField())), output_field=FloatField())


class PageColumns(RunColumns):
    """Names that filters of the table may compare."""

    ENTITIES: ClassVar = {**ENTITIES, "last": "last", "min": "min", "max": "max", "best": "best"}
    ATTRIBUTES: ClassVar = {
        **RunColumns.ATTRIBUTES,
        "id": Column(Kind.TEXT, F("id")),
        "name": Column(Kind.TEXT, F("name")),
        "status": Column(Kind.TEXT, F("status"), denoted=denoted_status),
        "state": Column(Kind.TEXT, F("status"), denoted=denoted_status),
        "failure": Column(Kind.TEXT, F("failure_kind"), denoted=denoted_failure),
        "who": Column(Kind.TEXT, USER),
        "progress": Column(Kind.NUMBER, F("progress")),
        "step": Column(Kind.INTEGER, F("step")),
        "priority": Column(Kind.INTEGER, F("priority")),
        "gpus": Column(Kind.INTEGER, F("gpu_count")),
        "gpu_type": Column(Kind.TEXT, F("gpu_type")),
        "gpu_hours": Column(Kind.NUMBER, GPU_HOURS),
        "duration": Column(Kind.NUMBER, ELAPSED_SECONDS),  # seconds
        "started": Column(Kind.TIME, F("started_at"), span=span),
        "created": Column(Kind.TIME, F("created_at"), span=span),
        "finished": Column(Kind.TIME, F("finished_at"), span=span),
        "model": Column(Kind.TEXT, F("model")),
        "dataset": Column(Kind.TEXT, F("dataset")),
        "recipe": Column(Kind.TEXT, F("recipe_id")),
        "checkpoint_tag": Column(
            Kind.TEXT,
            F("value"),
            denoted=denoted_tag,
            wrap=lambda condition: Q(Exists(_tags_of_run().filter(condition))),
        ),
    }

    def __init__(self) -> None:
        super().__init__()
        self._relations: dict[str, str] = {}  # metric key -> alias of its joined series
        self._values: dict[str, str] = {}  # alias of a value -> its path

    def column(self, name: Name) -> Column:
        if name.entity == "best" and direction_of(name.key) is None:
            raise _best_unknown(name)
        if name.entity in ("metric", "last", "min", "max", "best"):
            return Column(Kind.NUMBER, self.metric(name.key, series_field(name.entity, name.key)))
        if name.entity == "param":
            return Column(
                Kind.PARAM,
                json_text("hyperparameters", name.key),
                json=json_value("hyperparameters", name.key),
                number=param_number(name.key),
            )
        if name.entity == "attribute" and name.key.lower() not in self.ATTRIBUTES:
            raise unknown_field(name, names_of_attributes())
        return super().column(name)

    def param_text(self, key: str) -> Any:
        """The text of a hyperparameter to sort and group by; or NULL. Call before ``prepare``."""
        return param_text(key)

    def param_number(self, key: str) -> Any:
        """The number that it denotes, or NULL. Call before ``prepare``."""
        return param_number(key)

    def metric(self, key: str, field: str) -> F:
        """A value of the metric: a ``field`` of MetricSeries. Call before ``prepare``."""
        relation = self._relations.setdefault(key, f"metric_{len(self._relations)}")
        alias = f"{relation}_{field}"
        self._values[alias] = f"{relation}__{field}"
        return F(alias)

    def prepare(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        for key, relation in self._relations.items():
            joined = FilteredRelation("series", condition=Q(series__key=key))
            rows = rows.alias(**{relation: joined})
        values = {alias: F(path) for alias, path in self._values.items()}
        with_values: QuerySet[Any] = rows.alias(**values)
        return with_values


def _best_unknown(name: Name) -> InvalidParameter:
    text = _(
        "Whether less or more of %(key)s is better is not known (position %(position)d): "
        "compare min.%(key)s or max.%(key)s."
    )
    found = {"key": name.key, "position": name.position + 1}
    return InvalidParameter(text % found, position=name.position)


def names_of_attributes() -> Iterable[str]:
    """The attributes to offer: without MLflow's second names of the same."""
    hidden = {*RunColumns.ATTRIBUTES, "state"} - {"status"}
    return (name for name in PageColumns.ATTRIBUTES if name not in hidden)
