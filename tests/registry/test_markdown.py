"""Text of users in Markdown: shown as it is, wherever it stands."""

import html
import re

import pytest
from markdown_it import MarkdownIt

from registry import markdown

PARSER = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
HOSTILE = [
    "- item",
    "1. item",
    "12) item",
    "# heading",
    "===",
    "---",
    "+ item",
    "a|b",
    "`code`",
    "``a`b``",
    "ends with `",
    "<b>&lt;</b>",
    "<script>alert(1)</script>",
    "https://example.org",
    "[link](javascript:alert(1))",
    "![picture](https://example.org/x.png)",
    "*a* _b_ **c** ~~d~~ $x$",
    "back\\slash \\| \\`",
    "中文，全角",
]


def shown(source):
    """The one text that the Markdown shows."""
    return html.unescape(re.sub(r"<[^>]*>", "", PARSER.render(source))).strip()


@pytest.mark.parametrize("text", HOSTILE)
def test_text_in_a_paragraph_is_shown_as_it_is(text):
    rendered = PARSER.render(markdown.inline(text))

    assert shown(markdown.inline(text)) == text
    assert re.findall(r"<(\w+)", rendered) == ["p"]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_in_a_cell_is_shown_as_it_is(text):
    rendered = PARSER.render(
        markdown.table(["Name", "Value"], [[markdown.inline(text), markdown.code(text)]])
    )

    cells = re.findall(r"<td>(.*?)</td>", rendered, re.S)
    assert [html.unescape(re.sub(r"</?code>", "", cell)) for cell in cells] == [text, text]


@pytest.mark.parametrize("text", HOSTILE)
def test_lines_of_a_quote_stay_in_it(text):
    rendered = PARSER.render(markdown.quote(f"{text}\n\n{text}"))

    assert re.findall(r"<(\w+)", rendered) == ["blockquote", "p", "p"]
    assert shown(markdown.quote(f"{text}\n\n{text}")).split("\n") == [text, text]


def test_lines_and_paragraphs_of_a_text_are_kept():
    rendered = PARSER.render(markdown.paragraphs("one\n# two\n\nthree"))

    assert rendered == "<p>one<br />\n# two</p>\n<p>three</p>\n"


def test_what_cannot_be_seen_is_left_out():
    assert markdown.plain("a\x00\u2028b\n c\x1b") == "ab c"


def test_link_leads_to_its_address():
    assert PARSER.render(markdown.link("a](x) [b", "http://host/a")) == (
        '<p><a href="http://host/a">a](x) [b</a></p>\n'
    )
