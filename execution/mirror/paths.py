"""Which files of an attempt's directory launchers send."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from django.utils.translation import gettext as _

from core.exceptions import InvalidInput
from core.text import storable
from execution.launcher.nodes import NODE_FAILED, RENDEZVOUS
from execution.models import MAX_PATH_BYTES

CHECKPOINTS: Final = "checkpoints"
MAX_NAME_BYTES: Final = 255  # of a file or folder, on Linux
LOGS: Final = frozenset({"stdout.log", "stderr.log", "launcher.log"})
NOTES: Final = frozenset({"launcher.json", "process.json", "exit.json"})
# What nodes may send, besides what is below ``checkpoints``.
OWN_FILES: Final = LOGS | NOTES


def check_path(path: str, rank: int) -> None:
    """Raises InvalidInput for a path that no launcher sends: one outside the attempt's directory,
    one that the worker's host cannot have, or a request, which only workers make."""
    parts = PurePosixPath(path).parts
    is_plain = (
        0 < len(path.encode(errors="replace")) <= MAX_PATH_BYTES
        and storable(path) == path
        and str(PurePosixPath(path)) == path
        and not path.startswith("/")
        and ".." not in parts
        and all(len(part.encode(errors="replace")) <= MAX_NAME_BYTES for part in parts)
    )
    if not is_plain or not _is_sent(parts, rank):
        raise InvalidInput(_("A launcher sends no such file: %(path)s") % {"path": path[:200]})


def _is_sent(parts: tuple[str, ...], rank: int) -> bool:
    if parts[0] == CHECKPOINTS:
        return len(parts) > 1
    if parts == (NODE_FAILED,):
        return True
    if rank:
        return len(parts) == 2 and parts[0] == f"node-{rank}" and parts[1] in OWN_FILES
    allowed = OWN_FILES | {"metrics.jsonl", "evaluation.json", RENDEZVOUS}
    return (len(parts) == 1 and parts[0] in allowed) or "tfevents" in parts[-1]


def is_note(path: str) -> bool:
    """Whether it is one of the few small files by which launchers tell how things are."""
    parts = PurePosixPath(path).parts
    notes = NOTES | {NODE_FAILED, RENDEZVOUS, "evaluation.json"}
    return parts[0] != CHECKPOINTS and parts[-1] in notes


def entry_of(path: str) -> str:
    """What is directly in the checkpoint folder and has ``path``; "" if that is elsewhere."""
    parts = path.split("/", 2)
    return parts[1] if parts[0] == CHECKPOINTS and len(parts) > 1 else ""
