"""The API's documentation is served from here alone, as a machine without a network needs it."""

import re

import pytest
from django.test import Client


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_page_loads_nothing_from_elsewhere(path: str) -> None:
    page = Client(SERVER_NAME="localhost").get(path).content.decode()

    loaded = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"([^\"]*)\"", page)
    assert loaded
    assert [address for address in loaded if not address.startswith("/static/")] == []


@pytest.mark.django_db
def test_redoc_may_not_load_its_logo_from_elsewhere() -> None:
    page = Client(SERVER_NAME="localhost").get("/redoc").content.decode()

    assert "img-src 'self' data:" in page
