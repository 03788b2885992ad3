"""Text limits: lengths, characters that PostgreSQL cannot store, and truncation."""

import os
import re
from typing import Final

MAX_NAME_LENGTH: Final = 200  # of projects, runs and models
MAX_KEY_LENGTH: Final = 250  # of metrics, hyperparameters and tags; the limit of MLflow clients
SENTENCE_ENDS: Final = (".", "!", "?", "…", "。", "！", "？")
# What a formula begins with, also as full-width characters.
FORMULA_STARTS: Final = (*"=+-@\t\r\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# NUL and lone surrogates.
UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """``text`` with U+FFFD for each character that PostgreSQL cannot store."""
    if text.isascii() and "\x00" not in text:  # the common case
        return text
    return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def readable(path: str | os.PathLike[str]) -> str:
    """A path as text, or a stand-in for one that is not UTF-8: read as GB 18030, or escaped."""
    raw = os.fsencode(path)
    for encoding in ("utf-8", "gb18030"):
        try:
            return storable(raw.decode(encoding))
        except UnicodeDecodeError:
            continue
    return raw.decode("ascii", errors="backslashreplace")


def truncate(text: str, max_length: int) -> str:
    """Shorten ``text`` with a final … if it is too long: long text must not fail a training run."""
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def neutral(text: str) -> str:
    """``text``, with ``'`` before it if a spreadsheet would take it for a formula.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    return "'" + text if text.startswith(FORMULA_STARTS) else text
