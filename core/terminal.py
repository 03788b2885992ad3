"""What the terminal reads: its language, and sentences instead of tracebacks."""

import os

from django.db import OperationalError
from django.utils import translation
from django.utils.translation import gettext as _

from core.database_errors import DatabaseUnavailable, problem_of


def terminal_language() -> str:
    """Chinese if the terminal's locale is Chinese, else English."""
    locale = next(
        (os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), ""
    )
    return "zh-hans" if locale.lower().startswith("zh") else "en"


def unanswered(error: OperationalError) -> str:
    """A sentence for a command whose database did not answer. Raises other errors again."""
    if not isinstance(problem_of(error), DatabaseUnavailable):
        raise error
    with translation.override(terminal_language()):
        text = _("TrainHub's database does not answer. Start it (make up), or set DATABASE_URL.")
        return f"{text}\n{error}"
