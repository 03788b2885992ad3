"""Keeps the data directory from other users of the machine, trainings among them."""

import logging
import stat
from pathlib import Path

from django.conf import settings

from core.files import close_to_others

logger = logging.getLogger(__name__)

SHOWN = 5  # paths in the log
READING_OR_WRITING = stat.S_IROTH | stat.S_IWOTH


def close_data_directory() -> None:
    """Take from others what they may read or write in the data directory, with one line in the log:
    earlier versions created it as the umask said. Raises OSError.

    Others may still pass through folders, where PostgreSQL's account or a training's has to.
    """
    data: Path = settings.DATA_DIR
    closed = [path for path in (data, settings.WORK_DIR) if _close(path, but=stat.S_IXOTH)]
    closed += [path for path in (data / "secret_key", data / "artifacts") if _close(path)]
    # Those of trainings with a user of their own can be passed through, not read: see attempt.py.
    closed += [
        folder
        for pattern in ("*", "*/attempt-*")
        for folder in settings.WORK_DIR.glob(pattern)
        if folder.is_dir() and folder.stat().st_mode & READING_OR_WRITING and _close(folder)
    ]
    if closed:
        logger.warning(
            "Other users of this machine could use %s (%d in all): closed to them.",
            ", ".join(map(str, closed[:SHOWN])),
            len(closed),
        )


def _close(path: Path, but: int = 0) -> bool:
    try:
        return close_to_others(path, but=but)
    except FileNotFoundError:
        return False
