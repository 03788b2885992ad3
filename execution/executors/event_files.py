"""Takes the scalars of the TensorBoard event files that a script writes as its run's metrics.

They are looked for below the script's working directory, and
read like metrics.jsonl: how far is committed together with the points. Of a metric that somebody
else reports too (metrics.jsonl, REST, MLflow's client), theirs counts, as it was reported as a
metric and in full precision: see event_keys.py.
"""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Final

from code_bundles.archives import UNPACKED_MTIME
from core.messages import in_english, words_of
from core.text import MAX_KEY_LENGTH, truncate
from core.times import unix_milliseconds
from execution.executor_state import AttemptNotes
from execution.executors.event_keys import EventKeys
from execution.executors.text_lines import LASTING
from logs.lines import Line
from logs.models import LogLevel
from metrics import recording
from metrics.event_files import MARK, EventLog, read_records
from metrics.points import GrowingPoints, Point, is_key
from metrics.recording import TooManyMetrics
from runs.models import Run

# Where transformers' Trainer writes by default if this variable is set; others write to the
# working directory.
FOLDER_VARIABLE: Final = "TENSORBOARD_LOGGING_DIR"
FOLDER: Final = "tensorboard"

LOOK_SHARE: Final = 0.01  # of a worker's time that looking for new files takes at most
MAX_ENTRIES: Final = 50_000  # looked at below an attempt's directory, slightly exceeded
ENTRIES_AT_ONCE: Final = 500  # of a folder, before the others get their turn
MAX_FILES: Final = 1000
MAX_POINTS: Final = 20_000  # per transaction, slightly exceeded
SKIPPED: Final = ("resume",)  # the checkpoint that the attempt starts from
DAMAGED: Final = -1  # the offset of a file that cannot be read on

# Folders of one training whose event files have the same tags: Keras, fast.ai.
PARTS: Final = ("train", "training", "validation", "valid", "val", "eval", "test")


# --- looking for files -----------------------------------------------------------------------


def find(directory: Path) -> tuple[list[str], bool]:
    """The paths of the event files below ``directory``, and whether all of it was searched; links
    are not followed."""
    found: list[str] = []
    seen = 0
    with ExitStack() as stack:
        pending = deque([_Folder("", stack)])
        while pending and seen < MAX_ENTRIES:
            folder = pending.popleft()
            entries = folder.next_entries(directory)
            seen += len(entries)
            if len(entries) == ENTRIES_AT_ONCE:  # a large folder must not hide the others
                pending.append(folder)
            for entry in entries:
                path = f"{folder.path}/{entry.name}" if folder.path else entry.name
                if path in SKIPPED or not path.isprintable():  # which PostgreSQL can store
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(_Folder(path, stack))
                elif MARK in entry.name and _is_own_file(entry):
                    found.append(path)
        return sorted(found), not pending


def _is_own_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, and not one that the run brought with its code."""
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_mtime != UNPACKED_MTIME


@dataclass
class _Folder:
    """A folder that is listed in parts. ``stack`` closes it if it is not listed to its end."""

    path: str
    stack: ExitStack
    entries: Iterator[os.DirEntry[str]] | None = None

    def next_entries(self, directory: Path) -> list[os.DirEntry[str]]:
        if self.entries is None:
            try:
                self.entries = self.stack.enter_context(os.scandir(directory / self.path))
            except OSError:  # it is gone, or cannot be read
                return []
        return list(islice(self.entries, ENTRIES_AT_ONCE))


def key_prefix(path: str, others: Sequence[str]) -> str:
    """What distinguishes the metrics of the event file ``path`` from those of the ``others``.

    A training may write several folders at once, with the same tags: add_scalars writes to folders
    below its writer's, and Keras to train and validation. The name of a number is a time.
    """
    folder = PurePosixPath(path).parent
    writers = {PurePosixPath(other).parent for other in others}
    for above in reversed(folder.parents):  # the topmost first
        if above in writers:
            inside = str(folder.relative_to(above))
            return "" if _is_time(inside) else f"{inside}/"
    return f"{folder.name}/" if folder.name in PARTS else ""


# When to look below a directory again, by time.monotonic. Only spares time.
_next_look: Final[dict[Path, float]] = {}


def _look(directory: Path, notes: AttemptNotes, *, ended: bool) -> tuple[list[str], bool]:
    """What ``find`` returns, if it is time to look: once more after the end."""
    if notes.get("event_files_at_end"):
        return [], True
    started = time.monotonic()
    if ended:
        notes["event_files_at_end"] = True
        _next_look.pop(directory, None)
        return find(directory)
    if started < _next_look.get(directory, 0.0):
        return [], True
    found = find(directory)
    _next_look[directory] = started + (time.monotonic() - started) / LOOK_SHARE
    return found


# --- ingesting -------------------------------------------------------------------------------


def ingest(
    run: Run, directory: Path, notes: AttemptNotes, *, ended: bool, owner: int | None = None
) -> tuple[list[Line], bool]:
    """Store the points of the next records of each file, and write to ``notes`` how far they were
    read. ``owner``: see open_file. Call with the run's row locked.

    Returns log lines about what cannot be taken, and whether the end of every file was reached.
    """
    if run.recipe is None or not run.recipe.read_tensorboard:
        return [], True
    reader = _Reader(run, notes, owner)
    files = _known_files(directory, reader, ended=ended)
    unread: set[PurePosixPath] = set()  # folders
    for path, (offset, prefix) in sorted(files.items()):
        folder = PurePosixPath(path).parent
        # In a folder, a later file may replace what an earlier one has: read that first.
        if offset == DAMAGED or folder in unread:
            continue
        if len(reader) >= MAX_POINTS:
            unread.add(folder)
            continue
        offset, at_end = reader.read(directory, path, offset, prefix)
        files[path] = (offset, prefix)
        if not at_end:
            unread.add(folder)
    if files:
        notes["event_files"] = files
    reader.record(ended=ended)
    return reader.lines, not unread


def _known_files(directory: Path, reader: _Reader, *, ended: bool) -> dict[str, tuple[int, str]]:
    """Path → offset and prefix; a file keeps the prefix that it was found with."""
    known: dict[str, tuple[int, str]] = {
        path: (offset, prefix)
        for path, (offset, prefix) in reader.notes.get("event_files", {}).items()
    }
    found, is_all = _look(directory, reader.notes, ended=ended)
    if not is_all:
        reader.warn_of_many_entries()
    paths = [*known, *found]
    for path in found:
        if path not in known and len(known) < MAX_FILES:
            known[path] = (0, key_prefix(path, paths))
    if not known.keys() >= set(found):
        reader.warn_of_many_files()
    return known


def writer_of(folder: PurePosixPath) -> str:
    """The folder whose writer writes to ``folder``, which it may have named by a time."""
    while _is_time(folder.name) and folder.parent.name:
        folder = folder.parent
    return str(folder)


def _is_time(name: str) -> bool:
    return name.replace(".", "").isdecimal()


class _Reader:
    """Reads files of one attempt in one transaction."""

    def __init__(self, run: Run, notes: AttemptNotes, owner: int | None) -> None:
        self.run = run
        self.notes = notes
        self.owner = owner
        self.logs: dict[PurePosixPath, EventLog] = {}  # by folder
        self.keys = EventKeys(run, notes)
        self.lines: list[Line] = []
        self.now_ms = unix_milliseconds(time.time())

    def __len__(self) -> int:
        return sum(len(log) for log in self.logs.values())

    def read(self, directory: Path, path: str, offset: int, prefix: str) -> tuple[int, bool]:
        """Read the next records of the file; returns the offset after them, and whether the file
        ends there."""
        file = directory / path
        try:
            if file.stat().st_size == offset:
                return offset, True
            reading = read_records(file, offset, self.owner)
        except OSError as error:
            if error.errno not in LASTING:
                raise
            return offset, True
        log = self.logs.setdefault(PurePosixPath(path).parent, EventLog())
        for record in reading.records:
            log.take(record, prefix=prefix, now_ms=self.now_ms)
        if not reading.damage:
            return reading.offset, reading.at_end
        self._warn(f"{path} is damaged at byte {reading.offset}: the rest of it is not read.")
        return DAMAGED, True

    def record(self, *, ended: bool) -> None:
        """Store the points."""
        damaged = sum(log.damaged for log in self.logs.values())
        if damaged:
            text = f"{damaged} records of TensorBoard event files are damaged."
            self._warn_once("event_record", text)
        for folder, log in self.logs.items():
            self._name(log, writer_of(folder))
        self.keys.give_way(
            self.keys.own() if ended else {key for log in self.logs.values() for key in log.keys}
        )
        new = GrowingPoints()
        for folder, log in self.logs.items():
            self._purge(log, writer_of(folder))
            new.extend(log)
        new.keep_keys(set(self.keys.own()).__contains__)
        try:
            recording.record_metrics(self.run, new.points)
        except TooManyMetrics as error:  # logged; the training continues
            self._warn_once("event_too_many", f"TensorBoard: {in_english(words_of(error))}")
        if self.logs:
            self.keys.note_counts(self.keys.own())
        self.keys.save()

    def _name(self, log: EventLog, folder: str) -> None:
        """Give the log's points the keys that they have in the run."""
        names = {key: self.keys.name(key, folder) for key in dict.fromkeys(log.keys)}
        for tag, key in names.items():
            if tag != key:
                text = f"TensorBoard tag {tag} is in several folders: that in {folder} is {key}."
                self._warn_once("event_folder", text)
        log.keys = [names[key] for key in log.keys]
        for key in log.keep_keys(is_key):
            text = f"a key must have 1 to {MAX_KEY_LENGTH} characters"
            self._warn_once("event_key", f"TensorBoard tag {truncate(key, 200)}: {text}")
        self.keys.claim(dict.fromkeys(log.keys), folder)

    def _purge(self, log: EventLog, folder: str) -> None:
        """Delete what was stored of the files before their writer started again."""
        keys = self.keys.own(folder=folder)
        if log.purged_from is None or not keys:
            return
        recording.delete_points(self.run, self.keys.stored(keys, log.purged_from))
        recording.forget_replayed(self.run, keys, log.purged_from)

    def warn_of_many_entries(self) -> None:
        text = (
            f"Only {MAX_ENTRIES} files and folders of the run's working directory are searched for "
            "TensorBoard event files: others are not found. Let the script write them to "
            f"${FOLDER_VARIABLE}."
        )
        self._warn_once("event_entries", text)

    def warn_of_many_files(self) -> None:
        text = f"At most {MAX_FILES} TensorBoard event files are read: there are more."
        self._warn_once("event_files", text)

    def _warn_once(self, kind: str, text: str) -> None:
        said = self.notes.get("said", [])
        if kind not in said:
            self.notes["said"] = [*said, kind]
            self._warn(text)

    def _warn(self, text: str) -> None:
        self.lines.append(Line.new(text, LogLevel.WARNING, "metrics"))


def without_taken(run: Run, points: Sequence[Point], notes: AttemptNotes) -> list[Point]:
    """Those ``points`` of metrics.jsonl whose steps no event file has reported before. From now on
    their metrics are not read from event files. Call with the run's row locked."""
    keys = EventKeys(run, notes)
    kept = keys.without_taken(points)
    keys.save()
    return kept
