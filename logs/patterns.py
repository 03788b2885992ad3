"""Find the literal texts that every match of a regular expression contains."""

from __future__ import annotations

import re
from typing import Final

# A bracket expression: a closing bracket may come first, an opening one anywhere, and [:alpha:]
# and escapes inside.
BRACKET: Final = re.compile(r"\[\^?+\]?+(?:\\.|\[:\w+:\]|\[(?![.:=])|[^\]\\\[])*\]", re.S)
REPETITION: Final = re.compile(r"\{\d+(?:,\d*)?\}")
# Escapes for a class of characters or a position between characters.
CLASSES: Final = frozenset("dswDSWAmMyYZ")
SPECIAL: Final = frozenset("^$.[]()|*+?{}\\")


class _UnsupportedSyntax(Exception):
    pass


def required_texts(pattern: str) -> list[str]:
    """Texts contained in every match of ``pattern``, a PostgreSQL regular expression.

    Conservative: groups, alternatives and other constructs contribute nothing, so the result may be
    empty. https://www.postgresql.org/docs/current/functions-matching.html
    """
    if pattern.startswith("(?i)"):  # block filters ignore case anyway
        pattern = pattern[len("(?i)") :]
    if pattern.startswith(("***", "(?")) or "(?#" in pattern:
        return []
    try:
        return _texts(pattern)
    except _UnsupportedSyntax:
        return []


def _texts(pattern: str) -> list[str]:
    texts = [""]
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character not in SPECIAL:
            texts[-1] += character
            at += 1
        elif character == "\\" and at + 1 < len(pattern) and not pattern[at + 1].isalnum():
            texts[-1] += pattern[at + 1]
            at += 2
        else:
            if character in "*?{":  # the character before it is optional
                texts[-1] = texts[-1][:-1]
            texts.append("")
            at = _end(pattern, at)
    return [text for text in texts if text]


def _end(pattern: str, at: int) -> int:
    """The end of the special construct that starts at ``at``."""
    character = pattern[at]
    if character in "^$.*+?":
        return at + 1
    if character == "\\" and pattern[at + 1 : at + 2] in CLASSES:
        return at + 2
    if character == "[":
        return _match(BRACKET, pattern, at)
    if character == "{":
        return _match(REPETITION, pattern, at)
    if character == "(":
        return _end_of_group(pattern, at)
    raise _UnsupportedSyntax


def _match(form: re.Pattern[str], pattern: str, at: int) -> int:
    match = form.match(pattern, at)
    if match is None:
        raise _UnsupportedSyntax
    return match.end()


def _end_of_group(pattern: str, at: int) -> int:
    depth = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "[":
            at = _match(BRACKET, pattern, at)
            continue
        depth += (character == "(") - (character == ")")
        at += 2 if character == "\\" else 1
        if depth == 0:
            return at
    raise _UnsupportedSyntax
