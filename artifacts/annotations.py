"""Parses the files that loggers write next to a checkpoint: its score and its aliases.

Lightning's MLFlowLogger uploads ``metadata.yaml`` (score, original_filename, Checkpoint: monitor,
…) and ``aliases.txt`` (a Python list such as ['latest', 'best']) to the checkpoint's folder, after
the checkpoint. Within a run an alias belongs to one checkpoint: the last one it was assigned to.
"""

from __future__ import annotations

import ast
import math
from typing import Any, Final

import yaml

from artifacts.layouts import step_of
from artifacts.models import Artifact
from core.numbers import MAX_BIGINT

METADATA: Final = "metadata.yaml"
ALIASES: Final = "aliases.txt"
MAX_BYTES: Final = 8 * 1024  # these files are small; a larger one is something else
MAX_ALIASES: Final = 20
# Raised by the two parsers for invalid text, and by the storage if the file has been replaced.
READ_ERRORS: Final = (
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
MAX_TEXT_LENGTH: Final = 200  # of an alias or of the name of a monitored metric


def read_annotation(file: Artifact) -> dict[str, Any]:
    """The annotation in the uploaded ``file`` for the checkpoint next to it.

    Empty if ``file`` is not an annotation or cannot be parsed: it is then an ordinary file.
    """
    name = file.file.rpartition("/")[2]
    if name not in {METADATA, ALIASES} or file.size_bytes > MAX_BYTES:
        return {}
    try:
        with file.open() as content:
            text = content.read().decode(errors="replace")
        if name == ALIASES:
            return _aliases(ast.literal_eval(text))
        return _metadata(yaml.load(text, _NoAliasLoader))  # noqa: S506  # a SafeLoader
    except READ_ERRORS:
        return {}


class _NoAliasLoader(yaml.SafeLoader):
    """Rejects YAML aliases: a few lines of them can expand to gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)


def _aliases(content: Any) -> dict[str, Any]:
    if not isinstance(content, list):
        return {}
    return {"aliases": [alias for alias in content if _is_text(alias)][:MAX_ALIASES]}


def _metadata(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        return {}
    annotation: dict[str, Any] = {}
    score = content.get("score")
    if isinstance(score, int | float) and math.isfinite(score):
        annotation["score"] = float(score)
    callback = content.get("Checkpoint")
    for key in ("monitor", "mode"):
        text = callback.get(key) if isinstance(callback, dict) else None
        if _is_text(text):
            annotation[key] = text
    step = _step(content)
    return annotation if step is None else {**annotation, "step": step}


def _step(content: dict[Any, Any]) -> int | None:
    for key in ("step", "global_step"):
        step = content.get(key)
        if type(step) is int and 0 <= step <= MAX_BIGINT:
            return step
    name = content.get("original_filename")
    return step_of(name) if isinstance(name, str) else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT_LENGTH and value.isprintable()
