"""Pictures."""

import pytest

from artifacts.previews import Unreadable, preview_of
from artifacts.previews.images import MAX_BYTES
from tests.artifacts.previews.files import uploaded

pytestmark = pytest.mark.django_db

PNG = b"\x89PNG\r\n\x1a\nrest"


def test_picture_has_the_type_of_its_name():
    assert preview_of(uploaded("a.PNG", PNG)).content_type == "image/png"
    assert preview_of(uploaded("a.svg", "<svg/>")).content_type == "image/svg+xml"


def test_other_bytes_under_the_name_of_a_picture_are_unreadable():
    with pytest.raises(Unreadable):
        preview_of(uploaded("a.png", "<html>"))


def test_picture_too_large_is_unreadable():
    artifact = uploaded("a.png", PNG)
    artifact.size_bytes = MAX_BYTES + 1

    with pytest.raises(Unreadable):
        preview_of(artifact)
