"""JSON as a tree of parts that open and close."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from artifacts.models import Artifact
from artifacts.previews import texts
from artifacts.previews.contents import MAX_TEXT_BYTES, Unreadable, read_text
from core.messages import Message
from core.text import truncate

SUFFIXES: Final = frozenset({".json", ".ipynb"})
MAX_NODES: Final = 5000
MAX_DEPTH: Final = 30
MAX_VALUE_LENGTH: Final = 2000
OPEN_DEPTH: Final = 2  # parts above it are open at first


@dataclass(slots=True)
class Node:
    """``name``: its key or its place in its parent; None for the root. ``value``: of a leaf."""

    name: str | None
    value: str = ""
    kind: str = ""  # of a leaf, for its color: string, number, literal
    size: int = 0
    is_array: bool = False
    is_open: bool = False
    children: list[Node] = field(default_factory=list)
    left_out: int = 0  # children that are not shown


@dataclass(frozen=True, slots=True)
class JsonTree:
    template: ClassVar[str] = "artifacts/previews/_json.html"

    root: Node


def read(artifact: Artifact) -> JsonTree | texts.Text:
    """With NaN and infinities, which evaluations have. A file too large to be parsed is shown as
    text, from its start."""
    text, is_cut = read_text(artifact, MAX_TEXT_BYTES)
    if is_cut:
        return texts.Text(text[: texts.MAX_BYTES], is_cut)
    try:
        return JsonTree(tree(json.loads(text)))
    except RecursionError as error:
        raise Unreadable(Message("The file is nested too deeply to be shown.")) from error
    except ValueError as error:
        raise Unreadable(Message("Not valid JSON: %(why)s", why=str(error))) from error


def tree(content: Any) -> Node:
    left = [MAX_NODES]

    def node(name: str | None, value: Any, depth: int) -> Node:
        left[0] -= 1
        if not isinstance(value, dict | list) or not value:
            return _leaf(name, value)
        made = Node(
            name, size=len(value), is_array=isinstance(value, list), is_open=depth < OPEN_DEPTH
        )
        if depth >= MAX_DEPTH:
            made.left_out = len(value)
            return made
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, child in items:
            if left[0] <= 0:
                made.left_out = len(value) - len(made.children)
                break
            made.children.append(node(_shown(str(key)), child, depth + 1))
        return made

    return node(None, content, 0)


def _leaf(name: str | None, value: Any) -> Node:
    text = json.dumps(value, ensure_ascii=False)
    kind = (
        "string"
        if isinstance(value, str)
        else "number"
        if isinstance(value, int | float) and not isinstance(value, bool)
        else "literal"
    )
    return Node(name, value=_shown(text), kind=kind)


def _shown(text: str) -> str:
    """JSON may have half of a surrogate pair, which no page can."""
    return truncate(text.encode(errors="replace").decode(), MAX_VALUE_LENGTH)
