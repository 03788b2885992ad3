"""The names of the filter language for runs that have been indexed: of their hyperparameters and
metrics they compare the rows of values, which have indexes (metrics/run_index.py)."""

from __future__ import annotations

from typing import Any, Final

from django.db.models import (
    Case,
    F,
    FilteredRelation,
    FloatField,
    Q,
    QuerySet,
    Subquery,
    TextField,
    Value,
    When,
)
from django.db.models.functions import Length
from django.db.models.lookups import Exact, IsNull, LessThan

from dashboard.run_table.search import PageColumns
from runs.models import ColumnKind, RunColumn
from runs.param_values import GREATEST_EXACT, MAX_TEXT, denoted_number
from tracking.conditions import Column, Kind, denoted_values, equals_any, json_text
from tracking.filters import Name

# The column of MetricSeries -> the same of MetricValue.
FIELDS: Final = {"last_value": "last", "minimum": "minimum", "maximum": "maximum"}
# Of values that are not near 0, nor beyond GREATEST_EXACT, the number of a row tells whether they
# are equal.
LEAST_EXACT: Final = 1e-150


class IndexedColumns(PageColumns):
    def __init__(self) -> None:
        super().__init__()
        # Kind and key -> alias of the joined row of its value.
        self._joined: dict[tuple[ColumnKind, str], str] = {}
        self._paths: dict[str, str] = {}  # alias of a value -> its path

    @property
    def needs_values(self) -> bool:
        """Whether any name so far is that of a hyperparameter or metric."""
        return bool(self._joined)

    def column(self, name: Name) -> Column:
        if name.entity != "param":
            return super().column(name)
        text = self.param_text(name.key)
        in_row = super().column(name)

        def any_of(texts: tuple[str, ...]) -> Q:
            return self._equals_any(name.key, texts, in_row)

        return Column(
            Kind.PARAM,
            text,
            number=self.param_number(name.key),
            whole=Case(
                When(Q(LessThan(Length(text), MAX_TEXT)), then=text),
                default=json_text("hyperparameters", name.key),
            ),
            any_of=any_of,
        )

    def metric(self, key: str, field: str) -> F:
        return self._value(ColumnKind.METRIC, key, FIELDS[field])

    def param_text(self, key: str) -> F:
        return self._value(ColumnKind.PARAM, key, "text")

    def param_number(self, key: str) -> F:
        return self._value(ColumnKind.PARAM, key, "number")

    def _value(self, kind: ColumnKind, key: str, field: str) -> F:
        relation = self._joined.setdefault((kind, key), f"value_{len(self._joined)}")
        alias = f"{relation}_{field}"
        self._paths[alias] = f"{relation}__{field}"
        return F(alias)

    def prepare(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Join the values of the indexed runs among ``rows``, which are of one project."""
        rows = rows.filter(is_indexed=True)
        ids = self._column_ids(rows)
        for (kind, key), relation in self._joined.items():
            column = ids.get((kind, key))
            if column is None:  # no run has it, or the first one with it is being indexed just now
                columns = RunColumn.objects.filter(project__in=_project(rows), kind=kind, key=key)
                column = Subquery(columns.values("pk")[:1])
            path = "metric_values" if kind is ColumnKind.METRIC else "param_values"
            condition = Q(**{f"{path}__column": column})
            rows = rows.alias(**{relation: FilteredRelation(path, condition=condition)})
        values = {alias: F(path) for alias, path in self._paths.items()}
        with_values: QuerySet[Any] = rows.alias(**values)
        return with_values

    def _column_ids(self, rows: QuerySet[Any]) -> dict[tuple[str, str], Any]:
        """Looked up beforehand: the planner knows how many rows a constant selects."""
        if not self._joined:
            return {}
        keys = {key for _kind, key in self._joined}
        columns = RunColumn.objects.filter(project__in=_project(rows), key__in=keys)
        return {(kind, key): pk for kind, key, pk in columns.values_list("kind", "key", "pk")}

    def _equals_any(self, key: str, texts: tuple[str, ...], in_row: Column) -> Q:
        """As of a run's own row (tracking/conditions.py), by conditions that an index answers.

        None of them is NULL of a run that has the hyperparameter: they may be negated.
        """
        if any(len(text) >= MAX_TEXT or _is_inexact(text) for text in texts):
            return equals_any(in_row, texts)
        text, number, is_text = (
            self._value(ColumnKind.PARAM, key, field) for field in ("text", "number", "is_text")
        )
        is_number = Q(IsNull(number, False))
        condition = Q()
        for given in texts:
            own_number = denoted_number(given)
            same_text = Q(Exact(text, Value(given, output_field=TextField())))
            if own_number is None:
                condition |= Q(IsNull(number, True)) & same_text
            else:
                condition |= is_number & Q(Exact(number, _double(own_number))) & same_text
            for value in denoted_values(given):
                no_text = Q(Exact(is_text, Value(False)))
                if isinstance(value, bool):
                    same = Q(Exact(text, Value(str(value).lower(), output_field=TextField())))
                    condition |= Q(IsNull(number, True)) & same & no_text
                else:
                    condition |= is_number & Q(Exact(number, _double(value))) & no_text
        return condition


def _project(runs: QuerySet[Any]) -> QuerySet[Any]:
    return runs.order_by().values("project")[:1]


def _double(number: float) -> Value:
    return Value(float(number), output_field=FloatField())


def _is_inexact(text: str) -> bool:
    """Whether ``text`` denotes a number that a row cannot tell from others, or not at all."""
    return any(
        not isinstance(value, bool) and value != 0 and not LEAST_EXACT < abs(value) < GREATEST_EXACT
        for value in denoted_values(text)
    )
