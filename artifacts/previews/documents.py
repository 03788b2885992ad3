"""Markdown, and HTML, which is shown in a frame where nothing of it can act."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from django.utils.safestring import SafeString

from artifacts.models import Artifact
from artifacts.previews.contents import check_size, read_text
from core.markdown import to_html

HTML: Final = frozenset({".html", ".htm"})
MARKDOWN: Final = frozenset({".md", ".markdown"})
MAX_HTML_BYTES: Final = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class MarkdownText:
    template: ClassVar[str] = "artifacts/previews/_markdown.html"

    html: SafeString
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Html:
    """The page is the frame's: see artifacts.previews.raw."""

    template: ClassVar[str] = "artifacts/previews/_html.html"


def read_markdown(artifact: Artifact) -> MarkdownText:
    text, is_cut = read_text(artifact)
    if text.startswith("---\n"):  # front matter, as of a model card: YAML
        front, closing, rest = text[4:].partition("\n---\n")
        if closing:
            text = f"```yaml\n{front}\n```\n\n{rest}"
    return MarkdownText(to_html(text), is_cut)


def read_html(artifact: Artifact) -> Html:
    """Raises Unreadable if the page is too large for a frame."""
    check_size(artifact, MAX_HTML_BYTES)
    return Html()
