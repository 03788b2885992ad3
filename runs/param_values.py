"""Hyperparameters as they are compared: the number that a value is or, as a text, denotes."""

from __future__ import annotations

import re
from typing import Final

MAX_TEXT: Final = 200  # characters of a value by which runs are found and sorted
# What PostgreSQL can cast to a double: neither too large nor too small a number. Its length is a
# condition of its own: a regular expression that counts takes ten times as long.
NUMBER: Final = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?$"
MAX_NUMBER_LENGTH: Final = 200
GREATEST_EXACT: Final = 2**53  # of greater numbers, several whole ones are the same double


def number_sql(text: str) -> str:
    """SQL for the number that the SQL expression ``text`` denotes; NULL if it denotes none."""
    return (
        f"CASE WHEN length({text}) <= {MAX_NUMBER_LENGTH} AND {text} ~ '{NUMBER}' "
        f"THEN ({text})::float8 END"
    )


def denoted_number(text: str) -> float | None:
    """The same in Python."""
    if len(text) > MAX_NUMBER_LENGTH or text.endswith("\n") or not re.match(NUMBER, text):
        return None
    return float(text)
