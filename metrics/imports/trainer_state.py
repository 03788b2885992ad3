"""Trainings of Hugging Face's Trainer, from the trainer_state.json that they leave.

The file has no times. The end is taken to be when it was written, the start the recorded runtime
before that, and the steps are spread evenly between.

https://huggingface.co/docs/transformers/main_classes/callback#transformers.TrainerState
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from django.utils.translation import gettext as _

from core.numbers import MAX_BIGINT
from core.text import readable
from metrics.imports.columns import Columns
from metrics.imports.folders import UnreadableFolder, walk
from metrics.imports.past_runs import BadSource, PastRun, Progress, bounded
from metrics.values import number
from runs.status import RunStatus

NAME: Final = "trainer_state.json"
_CHECKPOINT: Final = re.compile(r"checkpoint-([0-9]+)")
PARAMS: Final = (
    "num_train_epochs",
    "max_steps",
    "train_batch_size",
    "logging_steps",
    "eval_steps",
    "save_steps",
    "trial_params",
)
TAGS: Final = ("best_metric", "best_global_step", "best_model_checkpoint", "trial_name")


@dataclass(frozen=True)
class Training:
    """A folder that a Trainer wrote to: its own state, and those of its checkpoints."""

    folder: Path
    files: tuple[Path, ...]

    @property
    def name(self) -> str:
        return readable(self.folder.name)

    @cached_property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._newest)

    @cached_property
    def _newest(self) -> list[Path]:
        """The files that may have the whole history: the final one, and that of the last step."""
        final = [path for path in self.files if path.parent == self.folder]
        saved = [path for path in self.files if path.parent != self.folder]
        return final + sorted(saved, key=_step_of)[-1:]

    def read(self, progress: Progress) -> list[PastRun]:
        """Raises BadSource."""
        states = {path: _state(path) for path in self._newest}
        progress(1.0)
        path = max(
            states, key=lambda item: (states[item]["global_step"], item.parent == self.folder)
        )
        state, history = states[path], states[path]["log_history"]
        if not history:
            return []
        step, planned = state["global_step"], state.get("max_steps")
        total = planned if type(planned) is int and 0 < planned <= MAX_BIGINT else None
        finished = bounded(path.stat().st_mtime)
        started = finished - _runtime(history, at_most=finished)
        columns = _columns(history, started, finished, step)
        is_whole = path.parent == self.folder or total is None or step >= total
        first = json.dumps(history[0], sort_keys=True)
        run = PastRun(
            identity=("trainer_state", str(self.folder), first),
            name=self.name,
            source=readable(path),
            points=columns.points,
            times_are_known=False,
            started_at=started,
            finished_at=finished,
            # Without its own file, a training ended before it was done.
            status=RunStatus.COMPLETED if is_whole else RunStatus.CANCELLED,
            total_steps=total,
            params={name: state.get(name) for name in PARAMS},
            tags={name: str(state[name]) for name in TAGS if state.get(name) is not None},
            left_out=columns.left_out,
        )
        return [run]


def _step_of(path: Path) -> int:
    match = _CHECKPOINT.fullmatch(path.parent.name)
    return int(match[1]) if match else -1


def _state(path: Path) -> dict[str, Any]:
    """Raises BadSource."""
    try:
        state = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        text = _("%(path)s is not valid JSON (%(why)s).")
        raise BadSource(text % {"path": readable(path), "why": error}) from None
    history = state.get("log_history") if isinstance(state, dict) else None
    is_history = isinstance(history, list) and all(isinstance(entry, dict) for entry in history)
    if not is_history or type(state.get("global_step")) is not int:
        text = _("%(path)s is not a state of Hugging Face's Trainer: it has no log_history.")
        raise BadSource(text % {"path": readable(path)})
    return dict(state)


def _runtime(history: Iterable[dict[str, Any]], *, at_most: float) -> float:
    """Seconds that the training took; 0 if it does not tell, or if it would be ``at_most``."""
    found = [number(entry.get("train_runtime")) for entry in history]
    return max(
        [seconds for seconds in found if seconds is not None and 0 < seconds < at_most],
        default=0.0,
    )


def _columns(
    history: list[dict[str, Any]], started: float, finished: float, last_step: int
) -> Columns:
    columns = Columns()
    for index, entry in enumerate(history):
        step = entry.get("step")
        if type(step) is not int or not 0 <= step <= MAX_BIGINT:
            columns.left_out += len(entry)
            continue
        share = min(1.0, step / last_step) if last_step > 0 else 1.0
        # Of two values at one step, the later entry's is the latest.
        seconds = started + (finished - started) * share + index / 1000
        for key, value in entry.items():
            if key != "step":
                columns.add(key, step, seconds, value)
    return columns


def trainings(paths: Iterable[Path]) -> Iterator[Training | UnreadableFolder]:
    """The trainings whose states are at or below ``paths``."""
    files: dict[Path, set[Path]] = {}
    unreadable: list[UnreadableFolder] = []
    for path in paths:
        for found in [path] if path.is_file() else _states_below(path, unreadable):
            state = found.resolve()
            is_checkpoint = _CHECKPOINT.fullmatch(state.parent.name)
            folder = state.parent.parent if is_checkpoint else state.parent
            files.setdefault(folder, set()).add(state)
    for folder, states in files.items():
        yield Training(folder, tuple(sorted(states)))
    yield from unreadable


def _states_below(root: Path, unreadable: list[UnreadableFolder]) -> Iterator[Path]:
    return (folder / NAME for folder, names in walk(root, unreadable) if NAME in names)
