"""Cuts text that is too long, with a mark that says how much is missing."""

from __future__ import annotations


def cut(text: str, limit: int, *, keep_end: int = 0) -> str:
    """``text`` if it has at most ``limit`` characters; else its beginning, the mark ``… [8,123
    characters cut]``, and its last ``keep_end`` characters, together of ``limit`` characters."""
    if len(text) <= limit:
        return text
    missing = len(text) - limit
    # The mark takes space too, and its own length depends on the number in it.
    while True:
        mark = f"… [{missing:,} characters cut]"
        needed = len(text) - (limit - len(mark))
        if needed == missing:
            break
        missing = needed
    end = text[len(text) - keep_end :] if keep_end else ""
    return text[: limit - len(mark) - keep_end] + mark + end
