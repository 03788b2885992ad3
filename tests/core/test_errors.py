"""Errors raised outside DRF, as the API's JSON and as pages."""

import pytest
from django.test import Client


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/projects", "/dashboard"])
def test_an_unknown_host_name_is_refused_with_the_setting_that_allows_it(path: str) -> None:
    response = Client(SERVER_NAME="gpu-7.example").get(path, headers={"accept-language": "en"})

    assert response.status_code == 400
    sentence = "This server does not answer to gpu-7.example: see TRAINHUB_ALLOWED_HOSTS."
    assert sentence in response.content.decode()
