"""What the answers of a server mean to a launcher."""

import io
import json
from email.message import Message
from urllib.error import HTTPError

import pytest

from execution.launcher.hub import (
    Away,
    Full,
    OutOfStep,
    Refused,
    Rejected,
    Unauthorized,
    meaning_of,
)


def answer(status, body):
    return HTTPError("http://hub.example", status, "", Message(), io.BytesIO(body))


def error(code, detail, attr=None):
    return json.dumps({"errors": [{"code": code, "detail": detail, "attr": attr}]}).encode()


@pytest.mark.parametrize(
    ("status", "code", "meaning"),
    [
        (400, "invalid", Rejected),
        (413, "chunk_too_large", Rejected),
        (401, "not_authenticated", Unauthorized),
        (403, "permission_denied", Away),
        (404, "not_found", Refused),
        (409, "out_of_step", OutOfStep),
        (410, "attempt_over", Refused),
        (429, "throttled", Away),
        (500, "error", Away),
        (503, "database_busy", Away),
        (503, "too_much_waits", Full),
    ],
)
def test_meaning_of_an_answer(status, code, meaning):
    assert type(meaning_of(answer(status, error(code, "why")))) is meaning


def test_answer_is_told_in_the_servers_words():
    told = meaning_of(answer(400, error("invalid", "Not a valid string.", "path")))

    assert str(told) == "400 path: Not a valid string."


@pytest.mark.parametrize("body", [b"<h1>413\nToo Large</h1>", b"[]", b'{"errors": []}', b"\xff"])
def test_answer_of_a_proxy_is_told_as_it_is(body):
    told = meaning_of(answer(413, body))

    assert str(told) == f"413 {' '.join(body.decode(errors='replace').split())}"
