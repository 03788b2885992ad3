"""Runs in a log folder of TensorBoard: each folder with event files is one, as it shows them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from django.utils.translation import gettext as _

from core.text import readable
from core.times import unix_milliseconds
from metrics.event_files import MARK, EventLog, event_files_in, read_records
from metrics.imports.folders import UnreadableFolder, walk
from metrics.imports.past_runs import BadSource, PastRun, Progress, bounded
from metrics.points import is_key


@dataclass(frozen=True)
class LogFolder:
    """A folder with event files. ``name``: its path in the log folder."""

    folder: Path
    name: str

    @cached_property
    def files(self) -> list[Path]:
        return list(event_files_in(self.folder))

    @cached_property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files)

    def read(self, progress: Progress) -> list[PastRun]:
        """No run if there are no scalars. Raises BadSource."""
        log = EventLog(reads_params=True)
        for path in self.files:
            self._read_file(path, log, progress)
        left_out = len(log.keys)
        log.keep_keys(is_key)
        log.replaced.keep_keys(is_key)
        if not log.keys:
            if log.damaged:
                text = _("%(path)s has no readable event files.")
                raise BadSource(text % {"path": readable(self.folder)})
            return []
        times = [at for at in (log.first_at, log.last_at) if at is not None]
        times = times or [self.files[-1].stat().st_mtime]
        total_steps = log.params.get("max_steps")
        run = PastRun(
            identity=("tensorboard", *self._identity()),
            name=self.name,
            source=readable(self.folder),
            points=log.points,
            replaced=log.replaced.points,
            started_at=times[0],
            finished_at=times[-1],
            # Those of events without a time are that of their file.
            times_are_known=log.times_are_known,
            params=log.params,
            total_steps=total_steps if type(total_steps) is int else None,
            left_out=left_out - len(log.keys) + log.damaged,
        )
        return [run]

    def _read_file(self, path: Path, log: EventLog, progress: Progress) -> None:
        written_ms = unix_milliseconds(bounded(path.stat().st_mtime))
        offset, at_end = 0, False
        while not at_end:
            reading = read_records(path, offset)
            for record in reading.records:
                log.take(record, now_ms=written_ms)
            log.damaged += bool(reading.damage)
            progress((reading.offset - offset) / max(1, self.size_bytes))
            offset, at_end = reading.offset, reading.at_end

    def _identity(self) -> tuple[str, str]:
        """The oldest file's name, which has its time, host and process, and its first record."""
        for path in self.files:
            records = read_records(path, 0).records
            if records:
                return path.name, hashlib.sha256(records[0]).hexdigest()
        raise AssertionError("it has points")


def log_folders(root: Path) -> Iterator[LogFolder | UnreadableFolder]:
    """The folders with event files, ``root`` and below. Links are not followed."""
    if root.is_file():
        return
    top = root.resolve().name
    unreadable: list[UnreadableFolder] = []
    for folder, files in walk(root, unreadable):
        if any(MARK in name for name in files):
            inside = str(folder.relative_to(root))
            yield LogFolder(folder, readable(top if inside == "." else inside))
    yield from unreadable
