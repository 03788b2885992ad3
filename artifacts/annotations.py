"""What loggers write beside a checkpoint of theirs: its score, and which one is the best.

Lightning's MLFlowLogger puts ``metadata.yaml`` (score, original_filename, Checkpoint: monitor, …)
and ``aliases.txt`` (a Python list such as ['latest', 'best']) into the checkpoint's folder, after
it. An alias is of one checkpoint of a run at a time: the last that it was given to.
"""

from __future__ import annotations

import ast
import math
from typing import TYPE_CHECKING, Any, Final

import yaml

from artifacts.recognition import MAX_STEP, step_of

if TYPE_CHECKING:
    from artifacts.models import Artifact

METADATA: Final = "metadata.yaml"
ALIASES: Final = "aliases.txt"
MAX_BYTES: Final = 8 * 1024  # such files are small; what is larger is something else
MAX_ALIASES: Final = 20
# What both parsers raise for text that is not theirs, and the storage for what was replaced.
UNREADABLE: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    yaml.YAMLError,
)
MAX_TEXT: Final = 200  # characters of one alias, or of a monitored metric's name


def read_annotation(file: Artifact) -> dict[str, Any]:
    """What the uploaded ``file`` says of the checkpoint beside it; empty if it says nothing, or is
    not what its name promises: it stays a file like any other."""
    name = file.file.rpartition("/")[2]
    if name not in {METADATA, ALIASES} or file.size_bytes > MAX_BYTES:
        return {}
    try:
        with file.open() as content:
            text = content.read().decode(errors="replace")
        if name == ALIASES:
            return _aliases(ast.literal_eval(text))
        return _metadata(yaml.load(text, _PlainLoader))  # noqa: S506  # a safe one
    except UNREADABLE:
        return {}


class _PlainLoader(yaml.SafeLoader):
    """YAML without references: a few lines of them could stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("no references")
        return super().compose_node(parent, index)


def _aliases(given: Any) -> dict[str, Any]:
    if not isinstance(given, list):
        return {}
    return {"aliases": [alias for alias in given if _is_text(alias)][:MAX_ALIASES]}


def _metadata(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        return {}
    found: dict[str, Any] = {}
    score = given.get("score")
    if isinstance(score, int | float) and math.isfinite(score):
        found["score"] = float(score)
    callback = given.get("Checkpoint")
    for key in ("monitor", "mode"):
        text = callback.get(key) if isinstance(callback, dict) else None
        if _is_text(text):
            found[key] = text
    step = _step(given)
    return found if step is None else {**found, "step": step}


def _step(given: dict[Any, Any]) -> int | None:
    for key in ("step", "global_step"):
        step = given.get(key)
        if type(step) is int and 0 <= step <= MAX_STEP:
            return step
    name = given.get("original_filename")
    return step_of(name) if isinstance(name, str) else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable()
