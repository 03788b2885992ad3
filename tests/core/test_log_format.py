"""Log lines as JSON and as text, with what they belong to, and without secrets."""

import json
import logging

import pytest

from core.log_context import ContextFilter, log_context, note_request, request_id
from core.log_format import JsonFormatter, TextFormatter

TOKEN = "th_" + "0123456789abcdef" * 4


def record(message: str, *arguments: object, error: BaseException | None = None):
    where = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("a.b", logging.WARNING, __file__, 1, message, arguments, where)
    ContextFilter().filter(made)
    return made


@pytest.fixture(autouse=True)
def no_request():
    note_request(None)
    yield
    note_request(None)


def error_of(message: str) -> BaseException:
    try:
        raise RuntimeError(message)
    except RuntimeError as error:
        return error


def test_json_line_has_what_it_belongs_to():
    note_request({"HTTP_X_REQUEST_ID": "abc"})

    with log_context(run="run_1", attempt="2", worker="w"):
        line = json.loads(JsonFormatter().format(record("stored %d", 3)))

    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "WARNING",
        "logger": "a.b",
        "message": "stored 3",
        "run": "run_1",
        "attempt": "2",
        "worker": "w",
        "request": "abc",
    }


def test_text_line_has_what_it_belongs_to():
    note_request({"HTTP_X_REQUEST_ID": "abc"})

    with log_context(run="run_1"):
        line = TextFormatter().format(record("stored"))

    assert line.endswith("WARNING a.b stored run=run_1 request=abc")


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_secret_is_hidden_in_messages_arguments_and_tracebacks(formatter: logging.Formatter):
    text = formatter.format(record("sent %s", TOKEN, error=error_of(f"refused {TOKEN}")))

    assert "Traceback" in text
    assert TOKEN not in text
    assert text.count("th_***") >= 2


def test_text_with_line_breaks_is_one_line():
    text = TextFormatter().format(record("no model %s", "a\r\n2026-01-01 INFO root all is well"))

    assert text.endswith(r"no model a\r\n2026-01-01 INFO root all is well")


def test_json_of_any_text_is_one_line():
    text = JsonFormatter().format(record("a\nb \udcff %s", {"quote": '"'}))

    assert json.loads(text)["message"].startswith("a\nb ?")
    assert "\n" not in text


def test_invalid_id_of_a_caller_is_replaced_once():
    environ = {"HTTP_X_REQUEST_ID": "two words\n"}
    note_request(environ)

    made = request_id()

    assert made is not None
    assert made.isalnum()
    assert request_id() == made


def test_outside_of_requests_there_is_no_id():
    assert request_id() is None
    assert "request" not in json.loads(JsonFormatter().format(record("x")))
