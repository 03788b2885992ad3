"""What is sent: TrainHub's JSON, or a text as a chat wants it, signed as each receiver checks it.

- Standard Webhooks (https://www.standardwebhooks.com): ``webhook-id``, ``webhook-timestamp`` and
  ``webhook-signature``, HMAC-SHA256 of all three parts, one signature for each secret.
- DingTalk: ``timestamp`` (ms) and ``sign`` in the URL, HMAC-SHA256 of "timestamp newline secret" by
  the secret (open.dingtalk.com, custom robots).
- Feishu, Lark: ``timestamp`` (s) and ``sign`` in the body, HMAC-SHA256 of nothing by "timestamp
  newline secret" (open.feishu.cn, custom bots).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson

from notices.models import SECRET_PREFIX, Shape

_FEISHU_MENTION: Final = re.compile(r"<(?=/?at\b)", re.IGNORECASE)
MAX_CHAT_TEXT: Final = 2_000  # bytes: WeCom takes 2,048, the others more


class Message(NamedTuple):
    url: str
    body: bytes
    headers: dict[str, str]


def message(
    shape: Shape,
    url: str,
    payload: dict[str, Any],
    *,
    delivery_id: str,
    secrets: Sequence[str],
    seconds: float,
) -> Message:
    """``seconds``: Unix time of the attempt."""
    if shape is Shape.JSON:
        return _standard(url, payload, delivery_id, secrets, int(seconds))
    text = _cut(payload["text"])
    secret = secrets[0] if secrets else ""
    content: dict[str, Any]
    if shape is Shape.SLACK:
        content = {"text": _slack_escaped(text)}
    elif shape is Shape.FEISHU:
        content = {"msg_type": "text", "content": {"text": _without_mentions(text)}}
        content |= _feishu_signature(secret, int(seconds)) if secret else {}
    else:  # DingTalk and WeCom agree on this
        content = {"msgtype": "text", "text": {"content": text}}
    if shape is Shape.DINGTALK and secret:
        url = _dingtalk_signed(url, secret, int(seconds * 1000))
    return Message(url, orjson.dumps(content), {"Content-Type": "application/json"})


def _standard(
    url: str, payload: dict[str, Any], delivery_id: str, secrets: Sequence[str], seconds: int
) -> Message:
    body = orjson.dumps(payload)
    signed = f"{delivery_id}.{seconds}.".encode() + body
    signatures = [f"v1,{_hmac(key_of(secret), signed)}" for secret in secrets]
    headers = {
        "Content-Type": "application/json",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(signatures),
    }
    return Message(url, body, headers)


def key_of(secret: str) -> bytes:
    """The bytes that a secret stands for: Base64 after the prefix, otherwise the text itself."""
    if secret.startswith(SECRET_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            pass
    return secret.encode()


def _hmac(key: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def _dingtalk_signed(url: str, secret: str, milliseconds: int) -> str:
    signature = _hmac(secret.encode(), f"{milliseconds}\n{secret}".encode())
    parts = urlsplit(url)
    query = [*parse_qsl(parts.query), ("timestamp", str(milliseconds)), ("sign", signature)]
    return parts._replace(query=urlencode(query)).geturl()


def _feishu_signature(secret: str, seconds: int) -> dict[str, str]:
    return {"timestamp": str(seconds), "sign": _hmac(f"{seconds}\n{secret}".encode(), b"")}


def _slack_escaped(text: str) -> str:
    """The three characters that are Slack's own (docs.slack.dev, formatting message text)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _without_mentions(text: str) -> str:
    """``<at user_id="all">`` in the text of a custom bot calls everybody (open.feishu.cn, custom
    bots): a run's name is not to. A zero-width space makes it text."""
    return _FEISHU_MENTION.sub("<\u200b", text)


def _cut(text: str) -> str:
    encoded = text.encode()
    if len(encoded) <= MAX_CHAT_TEXT:
        return text
    return encoded[: MAX_CHAT_TEXT - 3].decode(errors="ignore") + "…"
