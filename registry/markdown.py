"""Text of users as Markdown that cannot break out of its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

# What starts markup anywhere in a line; and a table's cells, HTML and entities.
_MARKUP: Final = re.compile(r"([\\`*_\[\]<>&|~#!$])")
# What starts a list, a heading's underline or a rule at the beginning of a line.
_LINE_START: Final = re.compile(r"^(\s*)([-+=]|\d+(?=[.)]))")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff]")


def plain(text: str) -> str:
    """``text`` on one line, without what cannot be seen; not escaped."""
    return " ".join(_CONTROL.sub("", text).split())


def inline(text: str) -> str:
    """``text`` on one line: within a heading, a paragraph or a cell of a table."""
    escaped = _MARKUP.sub(r"\\\1", plain(text))
    escaped = escaped.replace("://", r":\/\/")  # no links that nobody has made
    match = _LINE_START.match(escaped)
    if match is not None and match[2].isdigit():
        return f"{match[0]}\\{escaped[match.end() :]}"
    return escaped if match is None else f"{match[1]}\\{escaped[match.start(2) :]}"


def code(text: str) -> str:
    """``text`` as a code span on one line, also in a cell of a table; empty if it is empty."""
    line = plain(text)
    if not line:
        return ""
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}".replace("|", "\\|")


def quote(text: str) -> str:
    """``text`` of several lines as a block quote."""
    lines = [inline(line) for line in _CONTROL.sub("", text).splitlines()]
    return "\n".join(f"> {line}".rstrip() for line in lines)


def paragraphs(text: str) -> str:
    """``text`` of several lines, with its own line breaks."""
    blocks = re.split(r"\n\s*\n", _CONTROL.sub("", text).strip())
    return "\n\n".join(
        "\\\n".join(inline(line) for line in block.splitlines() if line.strip()) for block in blocks
    )


def link(text: str, url: str) -> str:
    """``url`` is TrainHub's own."""
    return f"[{inline(text)}](<{url}>)"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The cells are Markdown on one line each. Numbers are aligned by whoever shows it."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
