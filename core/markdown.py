"""Markdown that people write, as HTML.

HTML in the text is shown as text, and links lead only to web addresses, mail and pages of this
server: what a note contains cannot act in its reader's name.
"""

from __future__ import annotations

from typing import Any, Final

from django.utils.safestring import SafeString
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

MAX_LENGTH: Final = 200_000  # characters; what is beyond is not shown
MAX_NESTING: Final = 20


def _renderer() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_NESTING})
    markdown.enable(["table", "strikethrough"])
    # A picture would be a request to wherever the text says, as soon as somebody reads it.
    markdown.disable("image")
    markdown.add_render_rule("link_open", _open_link)
    for name in ("heading_open", "heading_close"):
        markdown.add_render_rule(name, _lower_heading)
    return markdown


def _open_link(
    self: RendererHTML, tokens: list[Token], place: int, options: OptionsDict, env: EnvType
) -> str:
    tokens[place].attrSet("rel", "nofollow noopener noreferrer")
    return self.renderToken(tokens, place, options, env)


def _lower_heading(
    self: RendererHTML, tokens: list[Token], place: int, options: OptionsDict, env: EnvType
) -> str:
    """The page's own headings are above those of the text."""
    token = tokens[place]
    token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
    return self.renderToken(tokens, place, options, env)


_MARKDOWN: Final = _renderer()


def to_html(text: str) -> SafeString:
    """``text`` as HTML that is safe to put into a page."""
    html: Any = _MARKDOWN.render(text[:MAX_LENGTH])
    return SafeString(html)  # nosec B703  HTML in the text is shown as text
