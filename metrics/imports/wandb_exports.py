"""Runs of Weights & Biases, from exports of their history.

Either what ``Run.history()`` or ``Run.scan_history()`` returns, one run a file, as CSV, JSON, JSON
Lines or Parquet: the columns _step, _timestamp, _runtime and the metrics. Or the CSV that a chart
exports: the step, and a column "run - metric" for each curve.

https://docs.wandb.ai/ref/python/public-api/run/
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final

from django.utils.translation import gettext as _

from core.numbers import MAX_BIGINT, MIN_BIGINT
from core.text import readable
from core.times import is_time
from metrics.imports.columns import Columns
from metrics.imports.past_runs import BadSource, PastRun, Progress, SourceFile, bounded
from metrics.imports.wandb_rows import add_row
from metrics.values import number, whole_number

STEP_NAMES: Final = ("_step", "step", "Step", "global_step")
TIME_NAME: Final = "_timestamp"  # Unix seconds
TIME_AXES: Final = ("Relative Time", "Wall Time")  # of a chart
CURVE: Final = " - "  # between run and metric in the columns of a chart's CSV
BOUNDS: Final = ("__MIN", "__MAX")  # endings of the columns of a curve's range
# What a CSV has in place of true and false.
BOOLEANS: Final = {"True": True, "False": False, "true": True, "false": False}

Row = Mapping[str, Any]


@dataclass
class _History:
    """The rows of one run."""

    columns: Columns = field(default_factory=Columns)
    times: list[float] = field(default_factory=list)  # of its rows, as far as they are known
    times_are_known: bool = True  # those of all rows
    first: dict[str, Any] = field(default_factory=dict)

    def take(self, step: int, row: Row, *, otherwise_at: float) -> None:
        """Add a row; ``otherwise_at``: its time if it has none, in Unix seconds."""
        seconds = number(row.get(TIME_NAME))
        if seconds is not None and is_time(seconds * 1000):
            self.times.append(seconds)
        else:
            seconds = otherwise_at
            self.times_are_known = False
        add_row(self.columns, step, seconds, row)
        if not self.first:
            self.first = {key: value for key, value in row.items() if value is not None}


class HistoryFile(SourceFile):
    def read(self, progress: Progress) -> list[PastRun]:
        """Raises BadSource, OSError."""
        written_at = bounded(self.path.stat().st_mtime)
        histories: dict[str, _History] = {}
        try:
            for run_name, step, row in self._rows(progress):
                history = histories.setdefault(run_name, _History())
                history.take(step, row, otherwise_at=written_at)
        except (ValueError, RecursionError, csv.Error) as error:
            text = _("%(path)s cannot be read: %(why)s.")
            raise BadSource(
                text % {"path": readable(self.path), "why": str(error).rstrip(".")}
            ) from None
        return [
            self._run(run_name, history, written_at)
            for run_name, history in histories.items()
            if len(history.columns)
        ]

    def _run(self, run_name: str, history: _History, written_at: float) -> PastRun:
        times = history.times or [written_at]
        first = json.dumps(history.first, sort_keys=True, default=str)
        return PastRun(
            identity=("wandb", str(self.path.resolve()), run_name, first),
            name=run_name,
            source=readable(self.path),
            points=history.columns.points,
            times_are_known=history.times_are_known,
            started_at=min(times),
            finished_at=max(times),
            left_out=history.columns.left_out,
        )

    def _rows(self, progress: Progress) -> Iterator[tuple[str, int, Row]]:
        """(run, step, values) of each row. Raises ValueError, csv.Error, BadSource."""
        readers = {".csv": self._csv, ".json": self._json, ".jsonl": self._lines}
        readers |= {".ndjson": self._lines, ".parquet": self._parquet}
        reader = readers.get(self.path.suffix.lower())
        if reader is None:
            text = _("%(path)s is not a CSV, JSON, JSONL or Parquet file, nor an offline run.")
            raise BadSource(text % {"path": readable(self.path)})
        return reader(progress)

    # --- formats -----------------------------------------------------------------------------

    def _csv(self, progress: Progress) -> Iterator[tuple[str, int, Row]]:
        with self.path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(_reporting(file, self.size_bytes, progress))
            names = list(reader.fieldnames or ())
            axis = names[0] if names else ""
            is_chart = len(names) > 1 and all(CURVE in name for name in names[1:])
            for row in reader:
                if None in row:
                    raise ValueError(_("a row has more columns than the first one"))
                cells = {name: _cell(text) for name, text in row.items()}
                if is_chart:
                    yield from self._curves(axis, cells)
                else:
                    yield self.name, self._step(cells), _without_steps(cells)

    def _curves(self, axis: str, cells: dict[str, Any]) -> Iterator[tuple[str, int, Row]]:
        step = whole_number(cells.pop(axis))
        if axis.startswith(TIME_AXES) or step is None or not MIN_BIGINT <= step <= MAX_BIGINT:
            text = _("%(path)s has no steps: export the chart with Step as its x-axis.")
            raise BadSource(text % {"path": readable(self.path)})
        runs: dict[str, dict[str, Any]] = {}
        for column, value in cells.items():
            run_name, _between, key = column.rpartition(CURVE)
            if not key.endswith(BOUNDS) and value is not None:
                runs.setdefault(run_name, {})[key] = value
        for run_name, row in runs.items():
            yield run_name, step, row

    def _json(self, progress: Progress) -> Iterator[tuple[str, int, Row]]:
        content = json.loads(self.path.read_bytes())
        progress(1.0)
        if isinstance(content, dict):  # by columns: what pandas writes by default
            content = _rows_of_columns(content)
        if not isinstance(content, list):
            raise ValueError(_("it is no list of rows"))
        yield from self._objects(content)

    def _lines(self, progress: Progress) -> Iterator[tuple[str, int, Row]]:
        with self.path.open(encoding="utf-8-sig") as file:
            lines = _reporting(file, self.size_bytes, progress)
            yield from self._objects(json.loads(line) for line in lines if line.strip())

    def _parquet(self, progress: Progress) -> Iterator[tuple[str, int, Row]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            file = pq.ParquetFile(self.path)
            total = max(1, file.metadata.num_rows)
            for batch in file.iter_batches():
                yield from self._objects(batch.to_pylist())
                progress(batch.num_rows / total)
        except pa.ArrowException as error:
            raise ValueError(str(error)) from None

    def _objects(self, rows: Iterable[Any]) -> Iterator[tuple[str, int, Row]]:
        for row in rows:
            if not isinstance(row, dict):
                raise ValueError(_("a row is no object"))
            yield self.name, self._step(row), _without_steps(row)

    def _step(self, row: Row) -> int:
        name = next((name for name in STEP_NAMES if name in row), None)
        if name is None:
            text = _("%(path)s has no column %(name)s.")
            raise BadSource(text % {"path": readable(self.path), "name": STEP_NAMES[0]})
        step = whole_number(row[name])
        if step is None or not MIN_BIGINT <= step <= MAX_BIGINT:
            text = _("%(path)s: the step %(step)s is not a whole number.")
            raise BadSource(text % {"path": readable(self.path), "step": repr(row[name])})
        return step


def _reporting(file: IO[str], size_bytes: int, progress: Progress) -> Iterator[str]:
    for line in file:
        progress(len(line.encode()) / max(1, size_bytes))
        yield line


def _cell(text: str | None) -> Any:
    """A cell's value; None if it is empty."""
    return BOOLEANS.get(text, text) if text else None


def _without_steps(row: Row) -> Row:
    """The values but the step and the unnamed column of a frame's index."""
    return {name: value for name, value in row.items() if name and name not in STEP_NAMES[:3]}


def _rows_of_columns(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of {column: {index: value}} in the order of their first column."""
    if not columns or not all(isinstance(column, dict) for column in columns.values()):
        raise ValueError(_("it is no list of rows"))
    indices = next(iter(columns.values()))
    return [{name: column.get(index) for name, column in columns.items()} for index in indices]
