"""The language of terminal output."""

import os


def terminal_language() -> str:
    """Chinese if the terminal's locale is Chinese, else English."""
    locale = next(
        (os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), ""
    )
    return "zh-hans" if locale.lower().startswith("zh") else "en"
