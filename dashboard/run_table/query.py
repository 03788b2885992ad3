"""All that the table reads from the database: its names, a page of rows, groups, and ids.

Which runs these are, and in which order, is found in ``matching``. ``runs`` is what the reader may
see of the project's listed runs; filters are of an Address.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Final

from django.core.cache import cache
from django.db.models import FloatField
from django.db.models import Value as Constant
from django.utils.translation import gettext as _

from artifacts.models import ArtifactTag
from dashboard.run_table import best_queries, known_queries
from dashboard.run_table.address import Address, Sort
from dashboard.run_table.columns import Column, Kind
from dashboard.run_table.matching import Matching, page_number
from dashboard.run_table.search import PageColumns, series_field
from metrics.goals import Direction, direction_of
from metrics.key_metrics import keys_among
from metrics.models import MetricSeries
from projects.models import Project
from runs.models import Run, RunQuerySet
from tracking.columns import USER
from tracking.conditions import json_text, json_value
from tracking.errors import InvalidParameter
from tracking.filters import Name

# Whose names are offered: a project may have a hundred thousand runs.
NAMED_RUNS: Final = 300
KNOWN_SECONDS: Final = 60
# Of a run, to draw and export its attributes: all others take several times as long to read.
ROW_FIELDS: Final = (
    *("id", "name", "status", "status_reason", "failure_kind", "stop_requested_at", "archived_at"),
    *("progress", "step", "total_steps", "created_at", "started_at", "finished_at"),
    *("attempt_started_at", "reported_at", "recipe_id", "model", "dataset", "priority"),
    *("gpu_count", "gpu_type", "held_seconds", "held_since"),
)
DOCUMENTS: Final = {Kind.PARAM: "hyperparameters", Kind.TAG: "tags"}
MAX_GROUPS: Final = 200
BATCH: Final = 500
MAX_SORTED_AT_BEST: Final = 5_000  # their curves are read


class TooManyToSort(InvalidParameter):
    """The filter leaves more runs than can be sorted by a value that only their curves tell."""


@dataclass(frozen=True, slots=True)
class Known:
    """The names that a project's newest runs use."""

    params: tuple[str, ...] = ()
    # Of ``params``, those with several values, numbers first; then those that some runs lack.
    differing: tuple[str, ...] = ()
    metrics: dict[str, int] = field(default_factory=dict)  # -> how many runs have it
    tags: tuple[str, ...] = ()
    key_metrics: tuple[str, ...] = ()  # that matter, the main one first

    @property
    def main_metric(self) -> str | None:
        return next(iter(self.key_metrics), None)


@dataclass(slots=True)
class Row:
    """``run``: with ROW_FIELDS alone; ``values``: of hyperparameters, tags and metrics."""

    run: Run
    who: str | None
    values: dict[Column, Any] = field(default_factory=dict)
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
    value: str | float | None  # a number if a double tells it; None: runs without it
    count: int
    metrics: dict[Column, Spread]


def known_columns(project: Project) -> Known:
    """The names, read again when one of the newest runs has changed, and after a minute, as older
    runs may have been indexed."""
    version = known_queries.version(project.pk, newest=NAMED_RUNS)
    key = f"run-table-names {project.pk} {version}".replace(" ", "-")
    known: Known | None = cache.get(key)
    if known is None:
        known = _known_columns(project)
        cache.set(key, known, KNOWN_SECONDS)
    return replace(known, key_metrics=tuple(keys_among(known.metrics, project)))


def _known_columns(project: Project) -> Known:
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
                differing.append((values == 1, not is_number, key))
    return Known(
        tuple(params), tuple(key for *_rank, key in sorted(differing)), metrics, tuple(tags)
    )


def page(
    runs: RunQuerySet, address: Address, columns: Sequence[Column], *, size: int, main: str | None
) -> Page:
    """The address's page, or the last one there is. ``main``: the metric that decides at which step
    a run was best. Raises InvalidParameter for the filter, or if it leaves too many to sort."""
    matching = Matching(runs, address)
    if matching.sorts_at_best:
        in_order = _sorted_at_best(matching, address, main)
        total, number = len(in_order), page_number(address.page, len(in_order), size)
        ids = in_order[size * (number - 1) : size * number]
    else:
        ids, total, number = matching.page(address.page, size)
    return Page(rows(runs, ids, columns, main=main), total, number)


def matching_ids(runs: RunQuerySet, address: Address, *, limit: int | None = None) -> list[str]:
    """The ids of all runs that match, in order unless they are sorted at the best step. Raises
    InvalidParameter for the filter."""
    return Matching(runs, address).ids(0, limit)


def count(runs: RunQuerySet, address: Address) -> int:
    """How many runs match. Raises InvalidParameter for the filter."""
    return Matching(runs, address).count()


def rows(
    runs: RunQuerySet, ids: Sequence[str], columns: Sequence[Column], *, main: str | None
) -> list[Row]:
    """The rows of ``ids`` in that order, without those that are not among ``runs`` any more."""
    of_documents = {
        f"value_{number}": column
        for number, column in enumerate(columns)
        if column.kind in DOCUMENTS
    }
    values = {
        name: json_value(DOCUMENTS[column.kind], column.key)
        for name, column in of_documents.items()
    }
    selected = runs.only(*ROW_FIELDS).annotate(who=USER, **values).order_by()
    fetched: dict[str, Any] = selected.in_bulk(list(ids))
    found = [
        Row(run, run.who, {column: getattr(run, name) for name, column in of_documents.items()})
        for run in (fetched[pk] for pk in ids if pk in fetched)
    ]
    _add_metrics(found, [column for column in columns if column.is_metric], main)
    if any(column.key == "checkpoint_tags" for column in columns):
        _add_checkpoint_tags(found)
    return found


def all_rows(
    runs: RunQuerySet, address: Address, columns: Sequence[Column], *, main: str | None
) -> Iterator[Row]:
    """Every row that matches, in order, some hundred at a time. Raises InvalidParameter for the
    filter, or if it leaves too many to sort."""
    matching = Matching(runs, address)
    ids = _sorted_at_best(matching, address, main) if matching.sorts_at_best else matching.ids()
    batches = (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))
    return chain.from_iterable(rows(runs, batch, columns, main=main) for batch in batches)


def groups(
    runs: RunQuerySet, address: Address, by: Column, metrics: Sequence[Column]
) -> list[Group]:
    """The runs that match, by the value that they have of ``by``, at most MAX_GROUPS groups: by the
    mean of the metric that the address sorts by, or by the value. Raises InvalidParameter."""
    shown = [column for column in metrics if column.has_value]
    found = Matching(runs, address).groups(
        lambda names: _group_values(by, names),
        lambda names: [
            names.metric(column.key, series_field(column.value.value, column.key))
            for column in shown
        ],
        order=_group_order(address.sort, by, shown),
        limit=MAX_GROUPS,
    )
    return [
        Group(
            value if number is None else number,
            count,
            {
                column: Spread(*spreads[4 * position : 4 * position + 4])
                for position, column in enumerate(shown)
            },
        )
        for value, number, count, *spreads in found
    ]


# --- parts of queries ------------------------------------------------------------------------


def _group_values(by: Column, names: PageColumns) -> tuple[Any, Any]:
    """What the runs are grouped by, and its number."""
    if by.kind is Kind.PARAM:
        return names.param_text(by.key), names.param_number(by.key)
    no_number = Constant(None, output_field=FloatField())
    if by.kind is Kind.TAG:
        return json_text("tags", by.key), no_number
    return names.column(Name("attribute", by.key, 0)).expression, no_number


def _group_order(sort: Sort | None, by: Column, metrics: Sequence[Column]) -> str:
    """SQL: see matching_queries.groups."""
    direction = "DESC" if sort is not None and sort.column == by and sort.descending else "ASC"
    by_value = f"number {direction} NULLS LAST, grouped_by {direction} NULLS LAST"
    if sort is None or sort.column not in metrics:
        return by_value
    direction = "DESC" if sort.descending else "ASC"
    return f"mean_{metrics.index(sort.column)} {direction} NULLS LAST, {by_value}"


# --- what is read for the shown rows ---------------------------------------------------------


def _add_metrics(found: list[Row], columns: Sequence[Column], main: str | None) -> None:
    if not (found and columns):
        return
    ids = [row.run.pk for row in found]
    stored = {column.key for column in columns if column.has_value}
    at_best = [column.key for column in columns if column.is_at_best]
    series = MetricSeries.objects.filter(run__in=ids, key__in=stored, count__gt=0)
    fields = ("run_id", "key", "last_value", "minimum", "maximum")
    by_name = {(record[0], record[1]): record for record in series.values_list(*fields)}
    places = {
        column: fields.index(series_field(column.value.value, column.key))
        for column in columns
        if column.has_value
    }
    best = _values_at_best(ids, at_best, main)
    for row in found:
        for column in columns:
            name = (row.run.pk, column.key)
            if column.is_at_best:
                row.values[column] = best.get(name)
            elif column in places and name in by_name:
                row.values[column] = by_name[name][places[column]]


def _values_at_best(
    ids: Sequence[str], keys: Sequence[str], main: str | None
) -> dict[tuple[str, str], float]:
    """By run and key."""
    direction = None if main is None else direction_of(main)
    if not keys or main is None or direction is None:
        return {}
    least = direction is Direction.LOWER
    return best_queries.values_at_best(ids, main=main, least=least, keys=keys)


def _sorted_at_best(matching: Matching, address: Address, main: str | None) -> list[str]:
    """The ids by a metric at the step at which each run was best. No row has these values: the
    curves of all runs are looked at. Raises TooManyToSort."""
    assert address.sort is not None
    key, descending = address.sort.column.key, address.sort.descending
    ids = matching.ids(0, MAX_SORTED_AT_BEST + 1)
    if len(ids) > MAX_SORTED_AT_BEST:
        message = _(
            "At most %(limit)d runs can be sorted by a value at the best step: filter them."
        )
        raise TooManyToSort(message % {"limit": MAX_SORTED_AT_BEST})
    values = _values_at_best(ids, [key], main)

    def place(pk: str) -> tuple[bool, bool, float]:
        value = values.get((pk, key))
        if value is None or math.isnan(value):
            return value is None, True, 0.0
        return False, False, -value if descending else value

    return sorted(ids, key=place)


def _add_checkpoint_tags(found: list[Row]) -> None:
    rows = {row.run.pk: row for row in found}
    tags = ArtifactTag.objects.filter(artifact__run__in=list(rows), artifact__deletion=None)
    tags = tags.order_by("value")
    for run_id, value in tags.values_list("artifact__run", "value").distinct():
        rows[run_id].checkpoint_tags.append(value)
