from django.contrib.staticfiles import finders
from django.test import Client


def test_browser_that_asks_for_an_icon_by_itself_is_shown_one(settings) -> None:
    settings.OPEN_MODE = False

    answer = Client(SERVER_NAME="localhost").get("/favicon.ico")

    assert answer.status_code == 302
    assert finders.find(answer.headers["Location"].removeprefix(settings.STATIC_URL))
