"""Files for frames: nothing in them can act."""

import pytest

from artifacts.previews.documents import MAX_HTML_BYTES
from artifacts.previews.raw import raw
from tests.artifacts.previews.files import uploaded

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("a.html", "text/html; charset=utf-8"), ("a.svg", "image/svg+xml"), ("a.png", "image/png")],
)
def test_file_is_put_into_a_sandbox_without_scripts_or_requests(rf, name, content_type):
    response = raw(rf.get("/"), uploaded(name, "<script>alert(1)</script>"))

    assert b"".join(response.streaming_content) == b"<script>alert(1)</script>"
    response.close()
    assert response["Content-Type"] == content_type
    policy = response["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "allow-" not in policy
    assert "script-src" not in policy
    assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["a.js", "a.css", "a.xml", "a", "a.pdf", "a.html.txt"])
def test_other_files_are_not_given_to_frames(rf, name):
    assert raw(rf.get("/"), uploaded(name, "x")) is None


def test_file_too_large_is_not_given_to_frames(rf):
    artifact = uploaded("a.html", "x")
    artifact.size_bytes = MAX_HTML_BYTES + 1

    assert raw(rf.get("/"), artifact) is None


def test_unchanged_file_is_not_sent_again_and_stays_under_the_policy(rf):
    artifact = uploaded("a.html", "x")

    response = raw(rf.get("/", headers={"If-None-Match": f'"{artifact.sha256}"'}), artifact)

    assert response.status_code == 304
    assert response["Content-Security-Policy"].startswith("sandbox")
