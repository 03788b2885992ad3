"""All that the table reads from the database: its names, a page of rows, groups, and ids.

The rest of the package and the views know no tables. ``runs`` is what the reader may see of the
project's listed runs; filters are of an Address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.db.models import Avg, Count, Exists, F, Max, Min, OuterRef, Q, StdDev
from django.db.models import Value as TextValue
from django.db.models.expressions import OrderBy
from django.db.models.functions import Collate
from django.db.models.lookups import Exact

from artifacts.models import ArtifactTag
from dashboard.run_table import best_queries, known_queries
from dashboard.run_table.address import Address, Sort
from dashboard.run_table.columns import Column, Kind, Value
from dashboard.run_table.search import PageColumns, param_number, series_field
from metrics.goals import less_is_better, main_metric
from metrics.models import MetricSeries
from projects.models import Project
from runs.models import Run, RunQuerySet
from tracking.columns import USER
from tracking.conditions import is_nan, json_text, sort_expression, where
from tracking.filters import Name

# Whose names are offered: a project may have a hundred thousand runs.
NAMED_RUNS: Final = 300
MAX_GROUPS: Final = 200
BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Known:
    """The names that a project's newest runs use."""

    params: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()  # of ``params``, those with several values; numbers first
    metrics: dict[str, int] = field(default_factory=dict)  # -> how many runs have it
    tags: tuple[str, ...] = ()

    @property
    def main_metric(self) -> str | None:
        return main_metric(self.metrics)


@dataclass(slots=True)
class Row:
    """A run with what its row does not have. The fields that no column needs are deferred."""

    run: Run
    who: str | None
    metrics: dict[Column, float | None] = field(default_factory=dict)
    checkpoint_tags: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Page:
    rows: list[Row]
    total: int  # runs that match
    number: int


@dataclass(frozen=True, slots=True)
class Spread:
    """The values of a metric in the runs of a group; None if no run has it."""

    mean: float | None
    deviation: float | None  # of the sample; None of a single value
    least: float | None
    greatest: float | None


@dataclass(frozen=True, slots=True)
class Group:
    value: str | None  # as text; None: runs without it
    count: int
    metrics: dict[Column, Spread]


def known_columns(project: Project) -> Known:
    params, differing, metrics, tags = [], [], {}, []
    for kind, key, count, values, is_number, runs in known_queries.names(
        project.pk, newest=NAMED_RUNS
    ):
        if kind == "metric":
            metrics[key] = count
        elif kind == "tag":
            tags.append(key)
        else:
            params.append(key)
            if values > 1 or count < runs:
                differing.append((not is_number, key))
    return Known(
        tuple(params), tuple(key for _rank, key in sorted(differing)), metrics, tuple(tags)
    )


def matching(runs: RunQuerySet, address: Address) -> RunQuerySet:
    """The runs that the address asks for, in its order. Raises InvalidParameter for its filter."""
    names = PageColumns()
    condition = where(address.filter, names) & _plain(address)
    order = _order(address.sort, names)
    prepared: RunQuerySet = names.prepare(runs)  # type: ignore[assignment]
    return prepared.filter(condition).order_by(*order, "-created_at", "id")


def page(
    runs: RunQuerySet, address: Address, columns: Sequence[Column], *, size: int, main: str | None
) -> Page:
    """The address's page, or the last one there is. ``main``: the metric that decides at which step
    a run was best. Raises InvalidParameter for the filter."""
    found = matching(runs, address)
    total = found.order_by().count()
    number = max(1, min(address.page, -(-total // size)))
    ids = list(found.values_list("pk", flat=True)[size * (number - 1) : size * number])
    return Page(rows(runs, ids, columns, main=main), total, number)


def matching_ids(runs: RunQuerySet, address: Address, *, limit: int | None = None) -> list[str]:
    """The ids of all runs that match, in order. Raises InvalidParameter for the filter."""
    return list(matching(runs, address).values_list("pk", flat=True)[:limit])


def rows(
    runs: RunQuerySet, ids: Sequence[str], columns: Sequence[Column], *, main: str | None
) -> list[Row]:
    """The rows of ``ids`` in that order, without those that are not among ``runs`` any more."""
    documents = {Kind.PARAM: "hyperparameters", Kind.TAG: "tags"}
    needed = {documents[column.kind] for column in columns if column.kind in documents}
    fetched: dict[str, Any] = runs.brief(*needed).annotate(who=USER).order_by().in_bulk(list(ids))
    found = [Row(fetched[pk], fetched[pk].who) for pk in ids if pk in fetched]
    _add_metrics(found, [column for column in columns if column.is_metric], main)
    if any(column.key == "checkpoint_tags" for column in columns):
        _add_checkpoint_tags(found)
    return found


def all_rows(
    runs: RunQuerySet, address: Address, columns: Sequence[Column], *, main: str | None
) -> Iterator[Row]:
    """Every row that matches, in order, some hundred at a time."""
    ids = matching_ids(runs, address)
    for start in range(0, len(ids), BATCH):
        yield from rows(runs, ids[start : start + BATCH], columns, main=main)


def groups(
    runs: RunQuerySet, address: Address, by: Column, metrics: Sequence[Column]
) -> list[Group]:
    """The runs that match, by the value that they have of ``by``, at most MAX_GROUPS groups: by the
    mean of the metric that the address sorts by, or by the value. Raises InvalidParameter."""
    names = PageColumns()
    condition = where(address.filter, names) & _plain(address)
    values = {
        column: names.metric(column.key, series_field(column.value.value, column.key))
        for column in metrics
        if column.value is not Value.AT_BEST
    }
    prepared: RunQuerySet = names.prepare(runs)  # type: ignore[assignment]
    grouped = prepared.filter(condition).order_by().values(grouped_by=_group_value(by))
    aggregates: dict[str, Any] = {"count": Count("pk")}
    for number, value in enumerate(values.values()):
        aggregates |= {
            f"mean_{number}": Avg(value),
            f"deviation_{number}": StdDev(value, sample=True),
            f"least_{number}": Min(value),
            f"greatest_{number}": Max(value),
        }
    if by.kind is Kind.PARAM:
        aggregates["number"] = Min(param_number(by.key))
    order = _group_order(address.sort, by, list(values))
    records: Iterable[dict[str, Any]] = grouped.annotate(**aggregates).order_by(*order)[:MAX_GROUPS]  # type: ignore[assignment]
    return [
        Group(
            record["grouped_by"],
            record["count"],
            {
                column: Spread(
                    record[f"mean_{number}"],
                    record[f"deviation_{number}"],
                    record[f"least_{number}"],
                    record[f"greatest_{number}"],
                )
                for number, column in enumerate(values)
            },
        )
        for record in records
    ]


# --- parts of queries ------------------------------------------------------------------------


def _plain(address: Address) -> Q:
    """The condition of the filters beside the filter language."""
    condition = Q()
    if address.archived != "with":
        condition &= Q(archived_at__isnull=address.archived != "only")
    if address.name:
        condition &= Q(name__icontains=address.name)
    if address.statuses:
        condition &= Q(status__in=address.statuses)
    if address.who:
        condition &= Q(Exact(USER, TextValue(address.who)))
    if address.tag:
        # A subquery, because a join would list a run once per checkpoint.
        tagged = ArtifactTag.objects.filter(value=address.tag, artifact__run=OuterRef("pk"))
        condition &= Q(Exists(tagged))
    return condition


def _order(sort: Sort | None, names: PageColumns) -> list[Any]:
    """Runs without a value come last, and after those with NaN those without any."""
    if sort is None:
        return []
    column, descending = sort.column, sort.descending
    if column.kind is Kind.METRIC:
        value = names.metric(column.key, series_field(column.value.value, column.key))
        return [OrderBy(is_nan(value), nulls_last=True), _by(value, descending)]
    if column.kind is Kind.PARAM:
        text = Collate(json_text("hyperparameters", column.key), "C")
        return [_by(param_number(column.key), descending), _by(text, descending)]
    if column.kind is Kind.TAG:
        return [_by(Collate(json_text("tags", column.key), "C"), descending)]
    return [_by(sort_expression(names.column(Name("attribute", column.key, 0))), descending)]


def _by(expression: Any, descending: bool) -> OrderBy:
    return OrderBy(expression, descending=descending, nulls_last=True)


def _group_value(by: Column) -> Any:
    if by.kind is Kind.PARAM:
        return json_text("hyperparameters", by.key)
    if by.kind is Kind.TAG:
        return json_text("tags", by.key)
    return PageColumns.ATTRIBUTES[by.key].expression


def _group_order(sort: Sort | None, by: Column, metrics: Sequence[Column]) -> list[Any]:
    descending = sort is not None and sort.column == by and sort.descending
    by_value = [_by(F("grouped_by"), descending)]
    if by.kind is Kind.PARAM:
        by_value = [_by(F("number"), descending), *by_value]
    if sort is None or sort.column not in metrics:
        return by_value
    return [_by(F(f"mean_{metrics.index(sort.column)}"), sort.descending), *by_value]


# --- what is read for the shown rows ---------------------------------------------------------


def _add_metrics(found: list[Row], columns: Sequence[Column], main: str | None) -> None:
    if not (found and columns):
        return
    ids = [row.run.pk for row in found]
    stored = {column.key for column in columns if column.value is not Value.AT_BEST}
    at_best = [column.key for column in columns if column.value is Value.AT_BEST]
    series = MetricSeries.objects.filter(run__in=ids, key__in=stored, count__gt=0)
    fields = ("run_id", "key", "last_value", "minimum", "maximum")
    by_name = {(record[0], record[1]): record for record in series.values_list(*fields)}
    best: dict[tuple[str, str], float] = {}
    if at_best and main is not None:
        best = best_queries.values_at_best(ids, main=main, least=less_is_better(main), keys=at_best)
    for row in found:
        for column in columns:
            name = (row.run.pk, column.key)
            if column.value is Value.AT_BEST:
                row.metrics[column] = best.get(name)
            elif name in by_name:
                place = fields.index(series_field(column.value.value, column.key))
                row.metrics[column] = by_name[name][place]


def _add_checkpoint_tags(found: list[Row]) -> None:
    rows = {row.run.pk: row for row in found}
    tags = ArtifactTag.objects.filter(artifact__run__in=list(rows)).order_by("value")
    for run_id, value in tags.values_list("artifact__run", "value").distinct():
        rows[run_id].checkpoint_tags.append(value)
