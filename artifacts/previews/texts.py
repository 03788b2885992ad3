"""Plain text: logs, scripts, configurations, lines of JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from artifacts.models import Artifact
from artifacts.previews.contents import read_text

SUFFIXES: Final = frozenset(
    f".{end}"
    for end in (
        *("txt", "log", "out", "err", "diff", "patch", "rst", "tex", "bib", "jinja"),
        *("yaml", "yml", "toml", "ini", "cfg", "conf", "env", "lock"),
        *("py", "sh", "jsonl", "ndjson"),
    )
)
MAX_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Text:
    template: ClassVar[str] = "artifacts/previews/_text.html"

    text: str
    is_cut: bool


def read(artifact: Artifact) -> Text:
    return Text(*read_text(artifact, MAX_BYTES))
