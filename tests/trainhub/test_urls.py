"""URLs that belong to no app."""

from django.contrib.staticfiles import finders
from django.test import Client


def test_default_icon_url_redirects_to_an_existing_icon(settings) -> None:
    settings.OPEN_MODE = False

    answer = Client(SERVER_NAME="localhost").get("/favicon.ico")

    assert answer.status_code == 302
    assert finders.find(answer.headers["Location"].removeprefix(settings.STATIC_URL))
