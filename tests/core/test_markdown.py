"""Markdown that people write."""

import pytest

from core.markdown import MAX_LENGTH, to_html


def test_markdown_is_rendered_below_the_headings_of_the_page():
    html = to_html("# Title\n\n**bold** ~~gone~~\n\n| a |\n|---|\n| 1 |")

    assert "<h3>Title</h3>" in html
    assert "<strong>bold</strong>" in html
    assert "<s>gone</s>" in html
    assert "<td>1</td>" in html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](vbscript:x)",
        '![x](x "onerror=alert(1)")',
        "<javascript:alert(1)>",
    ],
)
def test_nothing_in_a_text_acts(text):
    html = to_html(text)

    assert "<script" not in html
    assert "<img" not in html
    assert 'href="javascript' not in html.lower()
    assert 'href="data' not in html
    assert 'href="vbscript' not in html


def test_links_lead_away_without_a_trace():
    assert 'rel="nofollow noopener noreferrer"' in to_html("[x](https://example.com)")


@pytest.mark.parametrize("text", ["", "> " * 10_000, "[" * 10_000, "*a " * 10_000, "x" * 300_000])
def test_texts_of_any_kind_are_rendered_within_bounds(text):
    assert len(to_html(text)) < 3 * MAX_LENGTH
