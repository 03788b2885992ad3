"""The texts without which a regular expression cannot match: what a search looks for first."""

from __future__ import annotations

import re
from typing import Final

# A bracket expression: its closing bracket may stand first, and [:alpha:] and escapes within.
BRACKET: Final = re.compile(r"\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\\[])*\]", re.S)
REPETITION: Final = re.compile(r"\{\d+(?:,\d*)?\}")
# Escapes that stand for one character of a kind, or for a place between characters.
CLASSES: Final = frozenset("dswDSWAmMyYZ")
SPECIAL: Final = frozenset("^$.[]()|*+?{}\\")


class _NotUnderstood(Exception):
    pass


def required_texts(pattern: str) -> list[str]:
    """Texts that stand in every match of ``pattern``, a PostgreSQL regular expression.

    Cautious: of groups, alternatives and whatever else is not plain it says nothing, and so may
    return none. https://www.postgresql.org/docs/current/functions-matching.html
    """
    if pattern.startswith("(?i)"):  # blocks are searched without regard to case anyway
        pattern = pattern[len("(?i)") :]
    if pattern.startswith(("***", "(?")) or "(?#" in pattern:
        return []
    try:
        return _texts(pattern)
    except _NotUnderstood:
        return []


def _texts(pattern: str) -> list[str]:
    found = [""]
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character not in SPECIAL:
            found[-1] += character
            at += 1
        elif character == "\\" and at + 1 < len(pattern) and not pattern[at + 1].isalnum():
            found[-1] += pattern[at + 1]
            at += 2
        else:
            if character in "*?{":  # what stands before it may be missing
                found[-1] = found[-1][:-1]
            found.append("")
            at = _end(pattern, at)
    return [text for text in found if text]


def _end(pattern: str, at: int) -> int:
    """Where the special part that starts at ``at`` ends."""
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
    raise _NotUnderstood


def _match(form: re.Pattern[str], pattern: str, at: int) -> int:
    match = form.match(pattern, at)
    if match is None:
        raise _NotUnderstood
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
    raise _NotUnderstood
