"""What is printed: tables and text for people, JSON for programs.

Results go to standard output, everything else to standard error. Colors, bars and tables that move
are for terminals alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

# As the API has them, and as this program calls them.
STATUSES = {
    "排队中": "queued",
    "运行中": "running",
    "已暂停": "paused",
    "已完成": "completed",
    "已失败": "failed",
    "已取消": "cancelled",
}
TERMINAL = frozenset({"已完成", "已失败", "已取消"})
COLORS = {"running": "cyan", "completed": "green", "failed": "red", "cancelled": "yellow"}


def out() -> Console:
    return Console(highlight=False, soft_wrap=True)


def err() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(content: Any) -> None:
    """One document, in one line if nobody reads it at a terminal."""
    indent = 2 if sys.stdout.isatty() else None
    print_line(json.dumps(content, ensure_ascii=False, indent=indent))


def print_json_line(content: Any) -> None:
    """One of several documents, at once."""
    print_line(json.dumps(content, ensure_ascii=False))
    sys.stdout.flush()


def print_line(text: str) -> None:
    """As it is, except that a terminal gets no control characters of others."""
    if sys.stdout.isatty():
        text = plain(text)
    sys.stdout.write(text.encode(errors="replace").decode() + "\n")


def plain(text: str) -> str:
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


def note(text: str, style: str = "") -> None:
    """For people, beside the result."""
    err().print(Text(plain(text), style=style))


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """A table of a terminal; else lines with tabs between the columns."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print_line("\t".join(str(cell).replace("\t", " ").replace("\n", " ") for cell in row))
        return
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(plain(cell)) if isinstance(cell, str) else cell for cell in row))
    Console(highlight=False).print(drawn)


def status_of(run: dict[str, Any]) -> str:
    status = str(run["status"])
    return STATUSES.get(status, status)


def colored_status(run: dict[str, Any]) -> Text:
    status = status_of(run)
    return Text(status, style=COLORS.get(status, ""))


def local_time(text: str | None) -> str:
    """A time of the API, in this machine's zone."""
    if not text:
        return "–"
    return moment(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def span(seconds: float) -> str:
    """1:02:03"""
    return str(timedelta(seconds=max(0, round(seconds))))


def size(count: float) -> str:
    """Of bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError
