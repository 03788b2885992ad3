"""The API documentation has the contract's examples and loads nothing from other hosts."""

import re

import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from pytest_django import Settings

from tests.contract import Endpoint, endpoints


def without_names(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


@pytest.mark.parametrize("endpoint", endpoints().values(), ids=endpoints())
def test_schema_contains_the_contracts_examples(endpoint: Endpoint) -> None:
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    operations = {without_names(path): operations for path, operations in paths.items()}
    operation = operations[without_names(endpoint.path)][endpoint.method.lower()]

    answer = operation["responses"][str(endpoint.status)]["content"]["application/json"]
    assert endpoint.response in [example["value"] for example in answer["examples"].values()]
    if endpoint.request is not None:
        body = operation["requestBody"]["content"]["application/json"]
        assert endpoint.request in [example["value"] for example in body["examples"].values()]


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_page_loads_nothing_from_other_hosts(path: str) -> None:
    page = Client(SERVER_NAME="localhost").get(path).content.decode()

    loaded = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"([^\"]*)\"", page)
    own = ("/static/", "/docs?")  # and its own script
    assert loaded
    assert [address for address in loaded if not address.startswith(own)] == []


@pytest.mark.django_db
def test_redoc_cannot_load_images_from_other_hosts() -> None:
    answer = Client(SERVER_NAME="localhost").get("/redoc")

    assert "img-src 'self' data:;" in answer.headers["Content-Security-Policy"]


BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_browser_without_sign_in_is_sent_to_sign_in(path: str, settings: Settings) -> None:
    settings.OPEN_MODE = False

    answer = Client().get(f"{path}?lang=en", headers={"Accept": BROWSER})

    assert answer.status_code == 302
    assert answer.headers["Location"] == f"/login?next={path}%3Flang%3Den"


@pytest.mark.django_db
@pytest.mark.parametrize("accept", ["*/*", "application/json"])
@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_script_without_sign_in_gets_an_error_of_the_api(
    path: str, accept: str, settings: Settings
) -> None:
    settings.OPEN_MODE = False

    answer = Client().get(path, headers={"Accept": accept})

    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.json()["errors"][0]["code"] == "not_authenticated"


@pytest.mark.django_db
def test_wrong_token_is_an_error_for_browsers_too(settings: Settings) -> None:
    settings.OPEN_MODE = False

    answer = Client().get("/docs", headers={"Accept": BROWSER, "Authorization": "Bearer th_no"})

    assert answer.json()["errors"][0]["code"] == "authentication_failed"
