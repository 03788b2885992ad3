"""Messages that are stored as data and read in the language of their reader.

Whoever writes why a run has failed does not know who will read it. So it writes a ``Message``: the
English text, which is also its key in locale/, and its parameters. ``str(message)`` is the text in
the active language. What people and programs have written stays plain text.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

import orjson
from django.utils.translation import gettext, override

from core.text import SENTENCE_ENDS, storable

# A stored message is this JSON object: {"message": "…", "params": {…}}.
_START: Final = '{"message":'

# Others than these conversions are no message's: a width could make a text of any size.
_TEMPLATE: Final = re.compile(r"(?:[^%]|%%|%\(\w+\)[sd])*")


class Message:
    """``Message("Its worker %(name)s died.", name=worker)``

    Parameters are numbers, messages, or text; of anything else, the text. An exception says what it
    was raised with.
    """

    __slots__ = ("params", "template")

    def __init__(self, template: str, /, **params: object) -> None:
        self.template = template
        self.params = {name: _parameter(value) for name, value in params.items()}

    def __str__(self) -> str:
        try:
            return gettext(self.template) % self.params
        except (KeyError, TypeError, ValueError):  # read from a row that somebody else has written
            return self.template

    def __repr__(self) -> str:
        return f"Message({self.template!r}, **{self.params!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return (self.template, self.params) == (other.template, other.params)

    __hash__ = None  # type: ignore[assignment]  # its parameters are a dict


Text: TypeAlias = str | Message


def _parameter(value: object) -> int | float | Text:
    if isinstance(value, BaseException):
        return words_of(value)
    return value if isinstance(value, int | float | Message) else storable(str(value))


def words_of(error: BaseException) -> Text:
    """The message that ``error`` was raised with, or its text, as it can be stored."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, Message) else storable(str(error))


def as_sentence(text: Text) -> Text:
    """``text`` with a full stop at its end, unless it ends a sentence already."""
    return text if str(text).endswith(SENTENCE_ENDS) else Message("%(text)s.", text=text)


def in_english(text: Text) -> str:
    """For programs' logs, which are written once for all readers."""
    if isinstance(text, str):
        return text
    with override("en"):
        return str(text)


def dumps(text: Text) -> str:
    """``text`` as it is stored. The same message is always the same text, so that SQL finds it."""
    if isinstance(text, str):
        if not text.startswith(_START):
            return text
        text = Message("%(text)s", text=text)  # it only looks like a message
    return orjson.dumps(_as_json(text)).decode()


def loads(stored: str) -> Text:
    """What ``dumps`` has made a text of."""
    if not stored.startswith(_START):
        return stored
    try:
        return _from_json(orjson.loads(stored))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return stored  # text of an earlier version that looks like a message


def _as_json(message: Message) -> dict[str, Any]:
    params = {
        name: _as_json(value) if isinstance(value, Message) else value
        for name, value in sorted(message.params.items())
    }
    return {"message": message.template, "params": params}


def _from_json(content: dict[str, Any]) -> Message:
    if not _TEMPLATE.fullmatch(content["message"]):
        raise ValueError(content["message"])
    params = {
        name: _from_json(value) if isinstance(value, dict) else value
        for name, value in content["params"].items()
    }
    return Message(content["message"], **params)
