"""What TrainHub hears of a training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations import MLflowCallback


class ReportOnce(MLflowCallback):
    """Trainer's reporting by MLflow, with one point of each metric and step.

    Trainer reports ``epoch`` again with each evaluation, and at its end a mean loss, called
    ``train_loss``: for a resumed training, that is the sum since the resume divided by all steps.
    """

    def __init__(self) -> None:
        super().__init__()
        self._step = -1
        self._reported = {"train_loss"}

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Report what is new of ``logs``."""
        if state.global_step != self._step:
            self._step, self._reported = state.global_step, {"train_loss"}
        new = {name: value for name, value in logs.items() if name not in self._reported}
        self._reported |= new.keys()
        super().on_log(args, state, control, new, **kwargs)


class PlannedSteps(TrainerCallback):
    """Tells TrainHub how many steps there are, which Trainer computes from the epochs."""

    def __init__(self, metrics_file: Path) -> None:
        self._path = metrics_file

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Append the line."""
        if state.is_world_process_zero:
            with self._path.open("a", encoding="utf-8") as file:
                line = {"step": state.global_step, "total_steps": state.max_steps}
                file.write(json.dumps(line) + "\n")


def write_evaluation(trainer: Trainer, directory: Path) -> None:
    """Write the last evaluation to ``evaluation.json``. Losses are in nats per token."""
    state = trainer.state
    losses = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
    if losses and state.is_world_process_zero:
        loss = losses[-1]
        content = {
            "step": state.global_step,
            "eval_loss": loss,
            "eval_perplexity": math.exp(min(loss, 700.0)),
        }
        draft = directory / ".evaluation.json"
        draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        draft.replace(directory / "evaluation.json")
