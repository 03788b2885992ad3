"""A stop that keeps a checkpoint: all ranks end after the same step, whichever is asked first."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class Stop(TrainerCallback):
    """On SIGTERM or SIGINT, saves after the step that is being taken and ends the training.

    Before the first step a signal ends the process at once: there is nothing to save. Trainer's
    own ``enable_jit_checkpoint`` decides on each rank alone, and several would wait for each other.
    """

    def __init__(self) -> None:
        self._is_asked = False
        self._ranks: dist.ProcessGroup | None = None
        self.is_stopped = False

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Listen to signals from now on."""
        if dist.is_initialized():
            self._ranks = dist.new_group(backend="gloo")  # does not wait for what GPUs still do
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._is_asked = True

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Save and end if a rank was asked to; report and evaluate once more at the last step."""
        if state.global_step >= state.max_steps:
            control.should_log = True
            control.should_evaluate = args.eval_strategy != "no"
        elif self._is_any_asked():
            self.is_stopped = True
            control.should_log = True  # the steps since the last report
            control.should_evaluate = False  # the time to save is short
            control.should_save = True
            control.should_training_stop = True

    def _is_any_asked(self) -> bool:
        if self._ranks is None:
            return self._is_asked
        asked = torch.tensor(int(self._is_asked))
        dist.all_reduce(asked, op=dist.ReduceOp.MAX, group=self._ranks)
        return bool(asked)
