"""Stream the metrics of runs as Parquet or CSV.

Memory holds one batch of points and one row group, whatever the size of the export. Every batch is
a query of its own, so a client that reads for an hour keeps no transaction open. Points recorded
during the export may or may not be included; all earlier ones are, exactly once.
"""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import models
from django.db.models import Q, Sum

from core.numbers import json_number
from core.text import neutral
from core.times import iso_times
from metrics import history_queries
from metrics.models import MetricSeries
from runs.models import Run, RunQuerySet

POINTS_PER_BATCH = 10_000
RUNS_PER_BATCH = 10  # all of whose series are in memory
ROWS_PER_GROUP = 64 * 1024  # of a Parquet file: a row group is built in memory
LINES_PER_CHUNK = 5_000  # of CSV: avoids one chunk per short metric

COLUMNS = ("project_id", "run_id", "run_name", "key", "step", "timestamp", "value")


class ExportFormat(models.TextChoices):
    PARQUET = "parquet", "Parquet"
    CSV = "csv", "CSV"

    @property
    def content_type(self) -> str:
        return CONTENT_TYPES[self]


CONTENT_TYPES = {
    ExportFormat.PARQUET: "application/vnd.apache.parquet",
    ExportFormat.CSV: "text/csv; charset=utf-8; header=present",
}


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive points of one metric in columns, ordered by step, time and value."""

    project_id: str
    run_id: str
    run_name: str
    key: str
    steps: list[int]
    timestamps_ms: list[int]
    values: list[float]

    def __len__(self) -> int:
        return len(self.steps)


def count(runs: RunQuerySet) -> int:
    """The current number of points of ``runs``. Reads no points."""
    total = MetricSeries.objects.filter(run__in=runs.order_by()).aggregate(total=Sum("count"))
    return total["total"] or 0


def export(
    runs: RunQuerySet,
    export_format: ExportFormat,
    *,
    progress: Callable[[int], object] = lambda points: None,
) -> Iterator[bytes]:
    """The file in chunks. ``progress`` is called with the number of points of each batch."""
    return WRITERS[export_format](_with_progress(rows_of(runs), progress))


def _with_progress(batches: Iterable[Rows], progress: Callable[[int], object]) -> Iterator[Rows]:
    for rows in batches:
        yield rows
        progress(len(rows))


# --- reading ---------------------------------------------------------------------------------


def rows_of(runs: RunQuerySet) -> Iterator[Rows]:
    """Every point of ``runs``; the points of a metric are consecutive and in order."""
    for batch in _batches_of_runs(runs):
        by_id = {run.pk: run for run in batch}
        all_series = MetricSeries.objects.filter(run__in=batch, count__gt=0).order_by("id")
        for group in _groups(all_series):
            for series, steps, timestamps_ms, values in _points_of(group):
                run = by_id[series.run_id]
                yield Rows(
                    run.project_id, run.pk, run.name, series.key, steps, timestamps_ms, values
                )


def _batches_of_runs(runs: RunQuerySet) -> Iterator[list[Run]]:
    """``runs`` in batches, newest first."""
    ordered = runs.order_by("-created_at", "id").only("id", "name", "project_id", "created_at")
    batch = list(ordered[:RUNS_PER_BATCH])
    while batch:
        yield batch
        last = batch[-1]
        later = Q(created_at__lt=last.created_at) | Q(id__gt=last.pk)
        # The first condition is redundant, but the index scan can start at it.
        rest = ordered.filter(created_at__lte=last.created_at).filter(later)
        batch = list(rest[:RUNS_PER_BATCH])


def _groups(all_series: Iterable[MetricSeries]) -> Iterator[list[MetricSeries]]:
    """Series whose points fit into one batch, so that thousands of short ones take few queries."""
    group: list[MetricSeries] = []
    points = 0
    for series in all_series:
        if group and points + series.count > POINTS_PER_BATCH:
            yield group
            group, points = [], 0
        group.append(series)
        points += series.count
    if group:
        yield group


def _points_of(
    group: list[MetricSeries],
) -> Iterator[tuple[MetricSeries, list[int], list[int], list[float]]]:
    """The points of the series of ``group``, in batches."""
    by_id = {series.pk: series for series in group}
    after = None
    while True:
        batch = history_queries.points_in_columns(list(by_id), after=after, limit=POINTS_PER_BATCH)
        for series_id, steps, timestamps_ms, values in batch:
            yield by_id[series_id], steps, timestamps_ms, values
        if sum(len(steps) for _id, steps, _times, _values in batch) < POINTS_PER_BATCH:
            return
        series_id, steps, timestamps_ms, values = batch[-1]
        after = (series_id, steps[-1], timestamps_ms[-1], values[-1])
        by_id = {pk: series for pk, series in by_id.items() if pk >= series_id}


# --- writing ---------------------------------------------------------------------------------


def to_csv(batches: Iterable[Rows]) -> Iterator[bytes]:
    """RFC 4180, UTF-8. Values are the shortest text that parses as the same number. Texts that a
    spreadsheet would compute are neutralized."""
    lines = [_csv_line(*COLUMNS)]
    for rows in batches:
        begin = _csv_line(
            rows.project_id, rows.run_id, neutral(rows.run_name), neutral(rows.key)
        ).removesuffix("\r\n")
        columns = zip(rows.steps, iso_times(rows.timestamps_ms), rows.values, strict=True)
        lines += [
            f"{begin},{step},{time},{json_number(value)}\r\n" for step, time, value in columns
        ]
        if len(lines) >= LINES_PER_CHUNK:
            yield "".join(lines).encode()
            lines = []
    yield "".join(lines).encode()


def _csv_line(*fields: str) -> str:
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\r\n").writerow(fields)
    return line.getvalue()


def to_parquet(batches: Iterable[Rows]) -> Iterator[bytes]:
    """One row group at a time, compressed with Zstandard."""
    # Imported here, because it takes 40 MB of memory and most processes never export.
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            *(pa.field(name, pa.string(), nullable=False) for name in COLUMNS[:4]),
            pa.field("step", pa.int64(), nullable=False),
            pa.field("timestamp", pa.timestamp("ms", tz="UTC"), nullable=False),
            pa.field("value", pa.float64(), nullable=False),
        ]
    )

    sink = _Sink()
    with pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        use_dictionary=list(COLUMNS[:4]),
        column_encoding={"step": "DELTA_BINARY_PACKED", "timestamp": "DELTA_BINARY_PACKED"},
    ) as writer:
        for group in _row_groups(batches):
            places = pa.array(np.repeat(np.arange(len(group.lengths)), group.lengths))
            columns = [
                *(pa.array(texts).take(places) for texts in zip(*group.texts, strict=True)),
                pa.array(np.asarray(group.steps)),
                pa.array(np.asarray(group.timestamps_ms)).cast(schema.field("timestamp").type),
                pa.array(np.asarray(group.values)),
            ]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=len(group))
            yield sink.take()
    yield sink.take()


class _RowGroup:
    """The columns of a row group in compact arrays: Python numbers take four times the memory."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, ...]] = []  # one tuple per Rows
        self.lengths: list[int] = []
        self.steps = array("q")
        self.timestamps_ms = array("q")
        self.values = array("d")

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, rows: Rows) -> None:
        self.texts.append((rows.project_id, rows.run_id, rows.run_name, rows.key))
        self.lengths.append(len(rows))
        self.steps.extend(rows.steps)
        self.timestamps_ms.extend(rows.timestamps_ms)
        self.values.extend(rows.values)


def _row_groups(batches: Iterable[Rows]) -> Iterator[_RowGroup]:
    """Each group has at least ROWS_PER_GROUP rows, except the last, and at most a batch more."""
    group = _RowGroup()
    for rows in batches:
        group.add(rows)
        if len(group) >= ROWS_PER_GROUP:
            yield group
            group = _RowGroup()
    if len(group):
        yield group


class _Sink(io.RawIOBase):
    """Buffers what a writer writes until it is taken."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, chunk: Any) -> int:
        self._chunks.append(bytes(chunk))
        return len(chunk)

    def take(self) -> bytes:
        chunks, self._chunks = self._chunks, []
        return b"".join(chunks)


WRITERS: dict[ExportFormat, Callable[[Iterable[Rows]], Iterator[bytes]]] = {
    ExportFormat.PARQUET: to_parquet,
    ExportFormat.CSV: to_csv,
}
