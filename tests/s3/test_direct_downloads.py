"""The tests of direct downloads on a real server, and what moto does not check: signatures."""

import httpx

from tests.artifacts.test_direct_downloads import *  # noqa: F403
from tests.artifacts.test_direct_downloads import get


def test_url_is_for_this_file_as_an_attachment_alone(artifact):
    url = get(artifact)["Location"]

    for part, other in (("attachment", "inline"), ("octet-stream", "html"), ("300", "3000")):
        assert part in url
        answer = httpx.get(url.replace(part, other), trust_env=False)
        assert answer.status_code == 403
    assert httpx.put(url, content=b"x", trust_env=False).status_code == 403
