"""Points and log lines of an export, through the ways by which all points and lines come in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from core.times import EPOCH
from logs.appending import append_log
from logs.lines import Line
from metrics.points import Points
from metrics.recording import record_points
from runs.models import Run
from trainhub.moving.export_reader import as_exported
from trainhub.moving.layout import LOGS, METRICS

POINTS_AT_ONCE: Final = 10_000
LINES_AT_ONCE: Final = 5_000


def record(folder: Path, runs: Mapping[str, str]) -> None:
    """``runs``: the ids here of those that have come in. Call in a transaction. Raises
    MovingError."""
    with as_exported(METRICS):
        for run_id, columns in _by_run(folder / METRICS, POINTS_AT_ONCE):
            points = Points.in_columns(
                columns["key"], columns["step"], columns["timestamp"], columns["value"]
            )
            record_points(runs[run_id], points)
    with as_exported(LOGS):
        for run_id, columns in _by_run(folder / LOGS, LINES_AT_ONCE):
            names = ("timestamp", "level", "source", "rank", "message")
            values = zip(*(columns[name] for name in names), strict=True)
            run = Run.objects.lock(runs[run_id])
            lines = [Line(0, _moment(time), *others) for time, *others in values]
            append_log(run, lines, is_report=False)


def _by_run(file: Path, rows_at_once: int) -> Iterator[tuple[str, dict[str, list[Any]]]]:
    """Columns in batches, each of one run. Times as integers, in the unit of the file: Python's
    datetime does not have every year that a point may have."""
    import pyarrow as pa  # 40 MB of memory
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as content:
        for batch in content.iter_batches(rows_at_once):
            columns = {
                name: (column.cast(pa.int64()) if name == "timestamp" else column).to_pylist()
                for name, column in zip(batch.schema.names, batch.columns, strict=True)
            }
            start = 0
            for run_id, rows in groupby(columns["run_id"]):
                end = start + sum(1 for _row in rows)
                yield run_id, {name: column[start:end] for name, column in columns.items()}
                start = end


def _moment(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)
