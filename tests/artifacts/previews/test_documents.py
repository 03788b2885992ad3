"""Markdown and HTML files."""

import pytest

from artifacts.previews import Unreadable, preview_of
from artifacts.previews.documents import MAX_HTML_BYTES, Html
from tests.artifacts.previews.files import uploaded

pytestmark = pytest.mark.django_db


def test_markdown_is_rendered_without_its_html():
    html = preview_of(uploaded("README.md", "# A\n<script>alert(1)</script>")).html

    assert "<h3>A</h3>" in html
    assert "<script" not in html


def test_front_matter_is_shown_as_code():
    html = preview_of(uploaded("README.md", "---\nlicense: mit\n---\n# A")).html

    assert 'class="language-yaml"' in html
    assert "<h3>A</h3>" in html


def test_html_is_for_a_frame():
    assert isinstance(preview_of(uploaded("report.html", "<script>")), Html)


def test_html_too_large_for_a_frame_is_unreadable():
    artifact = uploaded("report.html", "x")
    artifact.size_bytes = MAX_HTML_BYTES + 1

    with pytest.raises(Unreadable):
        preview_of(artifact)
