"""The tests of direct uploads on a real server, and what moto does not check: signatures."""

from datetime import timedelta
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import httpx
import pytest

from artifacts import direct_upload_actions
from artifacts.direct_uploads import DirectUpload
from tests.artifacts.test_direct_uploads import *  # noqa: F403
from tests.artifacts.test_direct_uploads import CONTENT, PART, started
from tests.waiting import wait_until


def put(url, content):
    return httpx.put(url, content=content, trust_env=False).status_code


def changed(url, **fields):
    parts = urlsplit(url)
    query = {name: texts[0] for name, texts in parse_qs(parts.query).items()} | fields
    return urlunsplit(parts._replace(query=urlencode(query)))


@pytest.mark.parametrize(
    "content", [b"", CONTENT[: PART - 1], CONTENT + b"more"], ids=["nothing", "less", "more"]
)
def test_part_of_another_size_than_announced_is_refused(api, run, content):
    assert put(started(api, run)["parts"][0]["url"], content) == 403


def test_url_of_a_part_is_for_this_part_alone(api, run):
    url = started(api, run)["parts"][0]["url"]

    assert put(changed(url, partNumber="2"), CONTENT[:PART]) == 403
    elsewhere = urlsplit(url)._replace(path=urlsplit(url).path[:-1] + "x")
    assert put(urlunsplit(elsewhere), CONTENT[:PART]) == 403
    assert httpx.get(url, trust_env=False).status_code == 403
    assert put(url, CONTENT[:PART]) == 200


def test_url_of_a_part_expires(api, run):
    started(api, run)
    [url] = direct_upload_actions.part_urls(
        DirectUpload.objects.get(), [1], life=timedelta(seconds=1)
    )

    wait_until(lambda: put(url.url, CONTENT[:PART]) == 403, seconds=20)
