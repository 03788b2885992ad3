"""The schema of Run.executor_state: what executors store about a run, committed with its rows.

Only executors read it. The keys are stored in databases: do not rename them.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict


class EndNote(TypedDict):
    """How an attempt ended; see runs.executors.WorkStatus."""

    work: str  # the name of a WorkState
    reason: str  # as core/messages.py stores it
    exit_code: int | None
    failure_kind: NotRequired[str]  # a FailureKind; absent in notes of earlier versions


class BarNote(TypedDict):
    """The state of a moving progress bar that the log has."""

    shown_at: float  # Unix seconds
    text: str


class UnstoredNote(TypedDict):
    """Why the training's files are not being stored for now."""

    reason: str  # as core/messages.py stores it
    failures: int
    retry_at: float  # Unix seconds


class EventSeriesNote(TypedDict):
    """A metric of TensorBoard's event files; see execution/executors/event_keys.py."""

    folder: str  # that it is read from
    count: int  # of the series' points, when the last ones were read
    # Once somebody else reports it: the steps that were read until then, as ranges [first, last,
    # distance]; those that metrics.jsonl reports again are not taken.
    steps: NotRequired[list[list[int]]]


class AttemptNotes(TypedDict, total=False):
    """How far the files of a process's attempt have been ingested."""

    stdout: int  # bytes
    stderr: int  # bytes
    nodes: dict[str, AttemptNotes]  # of other nodes than the first, by rank: their stdout, stderr
    metrics: int  # bytes of metrics.jsonl
    metrics_mark: str  # of the bytes before: text_lines.py. Absent in notes of earlier versions
    metric_lines: int  # of metrics.jsonl, in these bytes
    # Whether metrics.jsonl has been written anew, so that it may repeat what was read before.
    metrics_replaced: bool
    said: list[str]  # kinds of what metrics.jsonl has that cannot be taken; see metric_lines.py
    bars: dict[str, BarNote]  # stdout or stderr → its progress bar
    nested_bars: dict[str, BarNote]  # the same of its nested bars
    evaluation: int  # st_mtime_ns of evaluation.json
    # Path → size in bytes, st_mtime_ns, number of files, step, and whether it was declared (1), as
    # last ingested. Those of earlier versions are shorter.
    checkpoints: dict[str, list[int]]
    # Path of a TensorBoard event file → bytes read, -1 if it is damaged, and what the keys of its
    # metrics begin with; and whether the files that were there at the end have been found.
    event_files: dict[str, tuple[int, str]]
    event_files_at_end: bool
    event_series: dict[str, EventSeriesNote]  # by key
    others: bool  # whether the files next to the checkpoints have been stored
    unstored: UnstoredNote
    declared: dict[str, int | None]  # path of a checkpoint declared in metrics.jsonl → step
    declared_at: dict[str, float]  # path → when its last declaration was written, in Unix ns
    rewritten: dict[str, int]  # path of a checkpoint → copies in a row during which it changed
    unreadable: list[str]  # paths in the checkpoint folder that were said to be unreadable


class InterruptionsNote(TypedDict):
    step: int
    count: int


class ExecutorState(TypedDict, total=False):
    # Of earlier versions: the metrics that were read from event files; see event_keys.py.
    event_keys: dict[str, bool]
    # All executors: the number of points in the stored event file.
    event_points: int
    # How often in a row its cluster ended it since its checkpoint of ``step``: Run.continue_after.
    interruptions: InterruptionsNote
    # How many samples of its host's metrics were recorded: execution/host_metrics.py.
    samples: int
    # The simulated executor: the attempt that was started, when it was last advanced (Unix
    # seconds), the effort that its training starts with, and how it ended.
    attempt: int
    advanced_at: float
    start_effort: float
    ended: EndNote
    # Executors with launchers: notes of each attempt by its number, as text because JSON
    # keys are text.
    read: dict[str, AttemptNotes]
