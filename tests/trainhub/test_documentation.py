"""The API documentation has the contract's examples and loads nothing from other hosts."""

import re

import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

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
