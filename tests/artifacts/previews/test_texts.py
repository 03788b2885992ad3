"""Plain text."""

import pytest

from artifacts.previews import Unreadable, preview_of
from artifacts.previews.texts import MAX_BYTES
from tests.artifacts.previews.files import uploaded

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("中文\n", "中文\n"),
        ("中文的日志\n".encode("gb18030"), "中文的日志\n"),
        ("text\n".encode("utf-16"), "text\n"),
    ],
)
def test_text_is_read_in_its_encoding(content, expected):
    assert preview_of(uploaded("a.txt", content)).text == expected


def test_the_start_of_a_long_text_is_shown_in_whole_lines():
    preview = preview_of(uploaded("a.log", "行\n" * MAX_BYTES))

    assert preview.is_cut
    assert preview.text.endswith("行\n")


def test_a_file_without_a_known_name_is_shown_if_it_is_text():
    assert preview_of(uploaded("LICENSE", "free")).text == "free"
    assert preview_of(uploaded("data.bin", b"\x00\xff" * 100)) is None


def test_a_text_file_with_other_content_is_unreadable():
    with pytest.raises(Unreadable):
        preview_of(uploaded("a.txt", b"\x00\x01\x02"))
