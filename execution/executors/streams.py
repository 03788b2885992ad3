"""Reads stdout and stderr of an attempt into log lines, from where the last reading ended."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Literal

from execution.executor_state import AttemptNotes
from execution.executors.log_entries import log_entries
from execution.executors.progress_bars import bar_line, without_shown, without_states
from execution.executors.text_lines import is_quiet, last_written, read_whole_lines
from logs.lines import Line


def next_entries(
    directory: Path,
    source: Literal["stdout", "stderr"],
    notes: AttemptNotes,
    *,
    encoding: str,
    ended: bool,
) -> tuple[list[Line], bool]:
    """The next log lines of a stream, and whether its end was reached. ``directory``: the
    attempt's. Changes ``notes``, to be committed with the lines."""
    path = directory / f"{source}.log"
    timestamp, quiet = last_written(path), ended or is_quiet(path)
    reading = read_whole_lines(path, notes.get(source, 0), ended=ended, quiet=quiet)
    quiet = quiet and (ended or is_quiet(path))  # nor was anything written in the meantime
    nested = dict(notes.get("nested_bars", {}))
    raw, state = without_states(
        reading.lines,
        nested.pop(source, None),
        now=time.time(),
        # A state must not stop the reading.
        complete=ended if reading.at_end else len(reading.lines) == 1,
        encoding=encoding,
    )
    entries = partial(log_entries, raw, source, timestamp, encoding=encoding)
    lines, used = entries(complete=quiet and reading.at_end)
    if not used and not reading.at_end:  # a traceback must not stop the reading
        lines, used = entries(complete=True)
    notes[source] = reading.offset_of(used)
    bars = dict(notes.get("bars", {}))
    if used:
        lines = without_shown(lines, bars.pop(source, None))
    if used == len(reading.lines) and not ended:
        line, note = bar_line(
            reading.rest,
            bars.get(source),
            source,
            timestamp,
            now=time.time(),
            quiet=quiet,
            encoding=encoding,
        )
        lines = lines if line is None else [*lines, line]
        bars |= {} if note is None else {source: note}
    if bars != notes.get("bars", {}):
        notes["bars"] = bars
    nested |= {} if state is None else {source: state}
    if used == len(raw) and nested != notes.get("nested_bars", {}):
        notes["nested_bars"] = nested
    return lines, reading.at_end
