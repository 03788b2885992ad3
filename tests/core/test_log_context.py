"""Log output for refused requests."""

import io
import logging
from collections.abc import Iterator

import pytest
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.test import Client, override_settings
from django.urls import path

from core.log_context import RefusalFilter


def refuse(request: HttpRequest) -> None:
    raise PermissionDenied


def fail(request: HttpRequest) -> None:
    raise RuntimeError("a server error")


urlpatterns = [path("refuse", refuse), path("fail", fail)]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The output of the handler in LOGGING."""
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if any(isinstance(filter, RefusalFilter) for filter in handler.filters)
    ]
    [handler] = handlers
    assert isinstance(handler, logging.StreamHandler)
    written = io.StringIO()
    before = handler.setStream(written)
    yield written
    handler.setStream(before)


def test_unknown_host_is_logged_in_one_line(log):
    assert Client(SERVER_NAME="evil.example").get("/healthz").status_code == 400

    [line] = log.getvalue().splitlines()
    assert "ERROR django.security.DisallowedHost" in line
    assert "evil.example" in line


@pytest.mark.django_db
def test_form_with_too_many_fields_is_logged_in_one_line(log, settings):
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 1

    client = Client(SERVER_NAME="localhost")
    assert client.post("/login", {"username": "a", "password": "b"}).status_code == 400

    [line] = log.getvalue().splitlines()
    assert "TooManyFieldsSent" in line


@override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])
def test_forbidden_request_is_logged_in_one_line(log):
    assert Client(SERVER_NAME="localhost").get("/refuse").status_code == 403

    [line] = log.getvalue().splitlines()
    assert "Forbidden" in line


@override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])
def test_server_error_is_logged_with_its_traceback(log):
    client = Client(SERVER_NAME="localhost", raise_request_exception=False)
    assert client.get("/fail").status_code == 500

    assert "Traceback" in log.getvalue()
    assert "a server error" in log.getvalue()
