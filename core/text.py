"""Text limits: characters that PostgreSQL cannot store, and truncation."""

import re
from typing import Final

# NUL and lone surrogates.
UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def truncate(text: str, max_length: int) -> str:
    """Shorten ``text`` with a final … if it is too long: long text must not fail a training run."""
    return text if len(text) <= max_length else text[: max_length - 1] + "…"
