"""Pages that are asked for with a method that they do not take."""

import pytest
from django.test import Client


@pytest.fixture
def browser(settings) -> Client:
    settings.LANGUAGE_CODE = "en"
    return Client(SERVER_NAME="localhost")


@pytest.mark.django_db
def test_opening_the_address_of_an_action_says_that_nothing_was_done(browser: Client) -> None:
    response = browser.get("/dashboard/projects/proj_x/archive")
    assert (response.status_code, response["Allow"]) == (405, "POST")
    assert "Nothing was done: this address is no page." in response.content.decode()


@pytest.mark.django_db
def test_sending_a_form_to_a_page_without_one_says_so(browser: Client) -> None:
    response = browser.post("/dashboard/workers")
    assert response.status_code == 405
    assert "This method is not allowed." in response.content.decode()
