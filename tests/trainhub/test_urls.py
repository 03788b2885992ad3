"""URLs that belong to no app."""

import pytest
from django.contrib.staticfiles import finders
from django.test import Client


def test_default_icon_url_redirects_to_an_existing_icon(settings) -> None:
    settings.OPEN_MODE = False

    answer = Client(SERVER_NAME="localhost").get("/favicon.ico")

    assert answer.status_code == 302
    assert finders.find(answer.headers["Location"].removeprefix(settings.STATIC_URL))


@pytest.mark.django_db
@pytest.mark.parametrize(("typed", "page"), [("/admin", "/admin/"), ("/dashboard/", "/dashboard")])
def test_addresses_are_found_with_and_without_a_slash_at_the_end(typed: str, page: str) -> None:
    answer = Client(SERVER_NAME="localhost").get(typed)

    assert (answer.status_code, answer.headers["Location"]) == (302, page)
