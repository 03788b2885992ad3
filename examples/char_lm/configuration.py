"""Run settings: output paths, dataset, and hyperparameters."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_MAX_STEPS = 400
# Checkpoint names have eight digits, so sorting by name sorts by step.
LARGEST_STEP = 99_999_999


class ConfigurationError(Exception):
    """Invalid settings or input; the message is one line for the user."""


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters; ``RULES`` has the allowed range of each.

    ``learning_rate`` increases linearly over ``warmup_steps`` and then stays constant. It does not
    depend on the length of the run, so a run resumed with more steps equals a run that had them
    from the start. ``max_steps`` counts from the first step, before any resume, and takes
    precedence over ``num_epochs`` (passes over the training text). ``grad_clip`` limits the norm
    of the whole gradient; 0 disables it. ``batch_size`` counts predicted characters,
    ``context_length`` the characters before each; the ``*_every`` settings are in steps.
    """

    learning_rate: float = 3e-3
    batch_size: int = 512
    max_steps: int | None = None
    num_epochs: float | None = None
    context_length: int = 6
    embedding_dim: int = 24
    hidden_dim: int = 256
    weight_decay: float = 0.1
    warmup_steps: int = 20
    grad_clip: float = 1.0
    eval_every: int = 50
    log_every: int = 10
    checkpoint_every: int = 100
    seed: int = 0
    progress_bar: bool = False


@dataclass(frozen=True)
class Rule:
    """Type and inclusive range of one hyperparameter."""

    kind: type[int] | type[float] | type[bool]
    low: float = 0
    high: float = math.inf


RULES = {
    "learning_rate": Rule(float),
    "batch_size": Rule(int, 1, 65_536),
    "max_steps": Rule(int, 1, LARGEST_STEP),
    "num_epochs": Rule(float, 0.01),
    "context_length": Rule(int, 1, 256),
    "embedding_dim": Rule(int, 1, 1_024),
    "hidden_dim": Rule(int, 1, 8_192),
    "weight_decay": Rule(float),
    "warmup_steps": Rule(int, 0, LARGEST_STEP),
    "grad_clip": Rule(float),
    "eval_every": Rule(int, 1, LARGEST_STEP),
    "log_every": Rule(int, 1, LARGEST_STEP),
    "checkpoint_every": Rule(int, 1, LARGEST_STEP),
    "seed": Rule(int, 0, 2**63 - 1),
    "progress_bar": Rule(bool),
}


@dataclass(frozen=True)
class Configuration:
    """All external settings of a run.

    ``warnings`` are log lines about ignored settings.
    """

    run_id: str
    dataset: str
    hyperparameters: Hyperparameters
    metrics_file: Path
    checkpoint_dir: Path
    output_dir: Path
    resume_from: Path | None
    warnings: tuple[str, ...]

    @classmethod
    def load(cls, arguments: Sequence[str], environment: Mapping[str, str]) -> Configuration:
        """Read the command line, the environment, and the JSON file that either of them names.

        ``--config`` takes precedence over TRAINHUB_CONFIG; an empty variable counts as unset.

        Raises:
            ConfigurationError: The file cannot be read, or a value is invalid.
        """
        parser = argparse.ArgumentParser(description="Train a character-level language model.")
        parser.add_argument("--config", metavar="FILE", help="JSON file with the settings")
        file_name = parser.parse_args(arguments).config or environment.get("TRAINHUB_CONFIG")
        settings = _read_settings(Path(file_name)) if file_name else {}

        hyperparameters, warnings = _hyperparameters(_object(settings, "hyperparameters"))
        resume_from = environment.get("TRAINHUB_RESUME_FROM")
        return cls(
            run_id=_text(settings, "run_id"),
            dataset=_text(settings, "dataset"),
            hyperparameters=hyperparameters,
            metrics_file=Path(environment.get("TRAINHUB_METRICS_FILE") or "metrics.jsonl"),
            checkpoint_dir=Path(environment.get("TRAINHUB_CHECKPOINT_DIR") or "checkpoints"),
            output_dir=Path(environment.get("TRAINHUB_OUTPUT_DIR") or "."),
            resume_from=Path(resume_from) if resume_from else None,
            warnings=warnings,
        )

    def make_directories(self) -> None:
        """Create the folders that the run writes into.

        Raises:
            ConfigurationError: One of them cannot be created.
        """
        for directory in (self.metrics_file.parent, self.checkpoint_dir, self.output_dir):
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                reason = error.strerror or error
                raise ConfigurationError(f"cannot create {directory}: {reason}") from error


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigurationError(f"{path} must contain a JSON object")
    return settings


def _object(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = settings.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigurationError(f"{name} must be an object, not {value!r}")
    return value


def _text(settings: Mapping[str, Any], name: str) -> str:
    value = settings.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be a string, not {value!r}")
    return value


def _hyperparameters(settings: Mapping[str, Any]) -> tuple[Hyperparameters, tuple[str, ...]]:
    """Check the values; null counts as unset.

    Unknown hyperparameters are reported and ignored, not rejected: a project passes the same
    hyperparameters to all its scripts.
    """
    warnings = [
        f"unknown hyperparameter {name!r} is ignored" for name in sorted(settings.keys() - RULES)
    ]
    values = {
        name: _checked(name, settings[name], rule)
        for name, rule in RULES.items()
        if settings.get(name) is not None
    }
    if "max_steps" in values and "num_epochs" in values:
        warnings.append("num_epochs is ignored because max_steps is set")
    return Hyperparameters(**values), tuple(warnings)


def _checked(name: str, value: object, rule: Rule) -> Any:
    if rule.kind is bool:
        if not isinstance(value, bool):
            raise ConfigurationError(f"{name} must be true or false, not {value!r}")
        return value
    # In Python True is an int, in JSON it is not a number.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{name} must be a number, not {value!r}")
    # Python's JSON reader also accepts NaN and Infinity.
    if not math.isfinite(value):
        raise ConfigurationError(f"{name} must be a finite number, not {value!r}")
    if rule.kind is int and value != int(value):
        raise ConfigurationError(f"{name} must be a whole number, not {value!r}")
    if not rule.low <= value <= rule.high:
        limit = f"at least {rule.low:g}" if value < rule.low else f"at most {rule.high:g}"
        raise ConfigurationError(f"{name} must be {limit}, not {value!r}")
    return rule.kind(value)
