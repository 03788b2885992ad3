"""What a run asks for: its hyperparameters, its dataset, and where TrainHub wants its files.

Needs nothing but the standard library.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

PRECISIONS = ("auto", "bf16", "fp16", "fp32")
# TrainHub's names of what Trainer calls otherwise.
ALIASES = {"batch_size": "per_device_train_batch_size", "num_epochs": "num_train_epochs"}


class OptionError(ValueError):
    """A setting that cannot be used; the message is one line for the user."""


@dataclass(frozen=True)
class Rule:
    """Type and inclusive range of one hyperparameter; of a text, what it may be."""

    kind: type[int] | type[float] | type[bool] | type[str]
    low: float = 0
    high: float = math.inf
    choices: tuple[str, ...] = ()


# Under the names of transformers.TrainingArguments, whose defaults they keep if they are not set.
OF_TRAINER = {
    "learning_rate": Rule(float),
    "max_steps": Rule(int, 1),
    "num_train_epochs": Rule(float, 0.001),
    "per_device_train_batch_size": Rule(int, 1),
    "per_device_eval_batch_size": Rule(int, 1),
    "gradient_accumulation_steps": Rule(int, 1),
    "gradient_checkpointing": Rule(bool),
    "lr_scheduler_type": Rule(str),
    "warmup_steps": Rule(int),
    "weight_decay": Rule(float),
    "max_grad_norm": Rule(float),
    "logging_steps": Rule(int, 1),
    "eval_steps": Rule(int, 1),
    "save_steps": Rule(int, 1),
    "save_total_limit": Rule(int, 1),
    "seed": Rule(int, 0, 2**32 - 1),
}
# Of this script; the fields of Options have the defaults.
OWN = {
    "model_name_or_path": Rule(str),
    "tokenizer_name_or_path": Rule(str),
    "context_length": Rule(int, 8, 1_048_576),
    "hidden_size": Rule(int, 8, 65_536),
    "num_layers": Rule(int, 1, 1_000),
    "num_heads": Rule(int, 1, 1_000),
    "precision": Rule(str, choices=PRECISIONS),
}


@dataclass(frozen=True)
class Options:
    """The settings of a run.

    ``model_name_or_path``: a model of the Hugging Face Hub or a folder with one; empty for a new
    GPT-2 of ``num_layers`` layers, ``hidden_size`` and ``num_heads``. ``tokenizer_name_or_path``:
    by default the model's own; a new model's has a token for each byte. ``context_length`` is in
    tokens. ``trainer``: arguments of transformers.TrainingArguments. ``folders``: where paths of
    the dataset, the model and the tokenizer have to be; None for anywhere. ``ignored``:
    hyperparameters that mean nothing here.
    """

    dataset: str
    checkpoint_dir: Path
    output_dir: Path
    metrics_file: Path
    resume_from: Path | None
    folders: tuple[Path, ...] | None
    model_name_or_path: str = ""
    tokenizer_name_or_path: str = ""
    context_length: int = 128
    hidden_size: int = 64
    num_layers: int = 2
    num_heads: int = 4
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    trainer: Mapping[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ) -> Options:
        """Read what TrainHub has set; an empty variable counts as unset.

        Raises:
            OptionError: The configuration cannot be read, or a value is invalid.
        """
        file_name = environment.get("TRAINHUB_CONFIG")
        settings = _read(Path(file_name)) if file_name else {}
        hyperparameters = _named(settings.get("hyperparameters") or {})
        own = _checked(hyperparameters, OWN)
        resume_from = environment.get("TRAINHUB_RESUME_FROM")
        options = cls(
            dataset=str(settings.get("dataset") or ""),
            checkpoint_dir=Path(environment.get("TRAINHUB_CHECKPOINT_DIR") or "checkpoints"),
            output_dir=Path(environment.get("TRAINHUB_OUTPUT_DIR") or "."),
            metrics_file=Path(environment.get("TRAINHUB_METRICS_FILE") or os.devnull),
            resume_from=Path(resume_from) if resume_from else None,
            folders=_folders(environment),
            trainer=_checked(hyperparameters, OF_TRAINER),
            ignored=tuple(sorted(hyperparameters.keys() - OWN.keys() - OF_TRAINER.keys())),
            **own,
        )
        if options.hidden_size % options.num_heads:
            raise OptionError("hidden_size must be a multiple of num_heads")
        return options

    def path_of(self, name: str) -> Path | None:
        """The file or folder that ``name`` means; None if there is none, so that it may be a name
        of the Hub.

        Raises:
            OptionError: It is outside the folders that a run may read.
        """
        if self.folders is None:
            return Path(name) if Path(name).exists() else None
        for folder in self.folders:
            path = (folder / name).resolve()
            if path.is_relative_to(folder.resolve()) and path.exists():
                return path
        # Not left to transformers, which would open it.
        if Path(name).exists() or name.startswith(("/", ".", "~")):
            raise OptionError(f"{name!r} is not below TRAINHUB_DATASET_DIRS, nor in the run's code")
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(f"cannot read {path}: {error}") from error
    if not isinstance(settings, dict):
        raise OptionError(f"{path} must contain a JSON object")
    return settings


def _named(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """With Trainer's names, which come first; null counts as unset."""
    given = {name: value for name, value in hyperparameters.items() if value is not None}
    for alias, name in ALIASES.items():
        if alias in given:
            given.setdefault(name, given[alias])
            del given[alias]
    return given


def _folders(environment: Mapping[str, str]) -> tuple[Path, ...] | None:
    told = environment.get("TRAINHUB_DATASET_DIRS")
    if told is None:
        return None
    code = environment.get("TRAINHUB_CODE_DIR")
    return tuple(Path(item) for item in (code, *told.split(os.pathsep)) if item)


def _checked(hyperparameters: Mapping[str, Any], rules: Mapping[str, Rule]) -> dict[str, Any]:
    return {
        name: _value(name, hyperparameters[name], rule)
        for name, rule in rules.items()
        if name in hyperparameters
    }


def _value(name: str, value: object, rule: Rule) -> Any:
    if rule.kind in (bool, str):
        if not isinstance(value, rule.kind):
            kind = "true or false" if rule.kind is bool else "a text"
            raise OptionError(f"{name} must be {kind}, not {value!r}")
        if rule.choices and value not in rule.choices:
            raise OptionError(f"{name} must be one of {', '.join(rule.choices)}, not {value!r}")
        return value
    # In Python True is an int, in JSON it is not a number.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OptionError(f"{name} must be a number, not {value!r}")
    if rule.kind is int and value % 1 != 0:
        raise OptionError(f"{name} must be a whole number, not {value!r}")
    if not rule.low <= value <= rule.high:
        limit = f"at least {rule.low:g}" if value < rule.low else f"at most {rule.high:g}"
        raise OptionError(f"{name} must be {limit}, not {value!r}")
    return rule.kind(value)
