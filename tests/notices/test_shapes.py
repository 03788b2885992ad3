"""What receivers get, and the signatures that they check."""

import base64
import hashlib
import hmac
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from notices.models import Shape
from notices.shapes import message

PAYLOAD = {"type": "run.failed", "timestamp": "2026-01-01T00:00:00.000Z", "text": "a <b> & c"}


def made(shape: Shape, url: str = "https://example.org/hook?a=1", secrets: tuple = ()):
    return message(shape, url, PAYLOAD, delivery_id="msg_1", secrets=secrets, seconds=1700000000.5)


def test_json_is_signed_as_standard_webhooks_says():
    """The example of the specification."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    sent = made(Shape.JSON, secrets=(secret,))

    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    expected = hmac.new(key, b"msg_1.1700000000." + sent.body, hashlib.sha256).digest()
    assert sent.headers["webhook-signature"] == "v1," + base64.b64encode(expected).decode()
    assert sent.headers["webhook-id"] == "msg_1"
    assert sent.headers["webhook-timestamp"] == "1700000000"
    assert json.loads(sent.body) == PAYLOAD


def test_each_secret_signs():
    sent = made(Shape.JSON, secrets=("whsec_YQ==", "whsec_Yg=="))

    assert len(set(sent.headers["webhook-signature"].split(" "))) == 2


def test_dingtalk_is_signed_in_its_url():
    sent = made(Shape.DINGTALK, secrets=("SEC1",))

    query = parse_qs(urlsplit(sent.url).query)
    signed = hmac.new(b"SEC1", b"1700000000500\nSEC1", hashlib.sha256).digest()
    assert query == {
        "a": ["1"],
        "timestamp": ["1700000000500"],
        "sign": [base64.b64encode(signed).decode()],
    }
    assert json.loads(sent.body) == {"msgtype": "text", "text": {"content": "a <b> & c"}}


def test_feishu_is_signed_in_its_body():
    sent = made(Shape.FEISHU, secrets=("s",))

    signed = hmac.new(b"1700000000\ns", b"", hashlib.sha256).digest()
    assert json.loads(sent.body) == {
        "msg_type": "text",
        "content": {"text": "a <b> & c"},
        "timestamp": "1700000000",
        "sign": base64.b64encode(signed).decode(),
    }


def test_name_of_a_run_calls_nobody_in_feishu():
    payload = {**PAYLOAD, "text": 'run <at user_id="all">all</at> <attempt>'}
    sent = message(Shape.FEISHU, "", payload, delivery_id="msg_1", secrets=(), seconds=0.0)

    assert json.loads(sent.body)["content"] == {
        "text": 'run <\u200bat user_id="all">all<\u200b/at> <attempt>'
    }


@pytest.mark.parametrize(
    ("shape", "content"),
    [
        (Shape.SLACK, {"text": "a &lt;b&gt; &amp; c"}),
        (Shape.WECOM, {"msgtype": "text", "text": {"content": "a <b> & c"}}),
    ],
)
def test_others_get_their_text_unsigned(shape, content):
    sent = made(shape)

    assert json.loads(sent.body) == content
    assert sent.url == "https://example.org/hook?a=1"
