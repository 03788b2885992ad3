"""The terminal that a command speaks to."""

import os


def terminal_language() -> str:
    """Chinese where the terminal's locale is, else English."""
    locale = next(
        (os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), ""
    )
    return "zh-hans" if locale.lower().startswith("zh") else "en"
