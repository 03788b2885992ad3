"""What a training's reports have in common: the run they lock, limits for names and texts."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from core.exceptions import DomainError, InvalidInput
from core.messages import Message
from core.text import MAX_KEY_LENGTH, truncate
from runs.models import Run

NAME: Final = re.compile(r"[/\w.\- :]+")
# Per run, so that reading its row stays fast. A client's largest batch (100 of each) fits.
MAX_NAMES = 2000
MAX_BYTES = 2 * 1024 * 1024


class InvalidReport(InvalidInput):
    code = "invalid_report"


class InTrash(DomainError):
    code = "run_in_trash"


def lock_reporting_run(run_id: str) -> Run:
    """Lock the row of the run that a report is for, and set ``reported_at``.

    Raises Run.DoesNotExist, InTrash.
    """
    run = Run.objects.lock(run_id)
    if run.deleted_at is not None:
        raise in_trash(run_id)
    run.change(reported_at=Now())
    return run


def in_trash(run_id: str) -> InTrash:
    return InTrash(Message("The run %(id)s is in the trash: restore it first.", id=run_id))


def truncate_texts(texts: Mapping[str, str], max_length: int) -> dict[str, str]:
    """Truncate texts that are too long, as MLflow's server does: a long prompt should not fail a
    training. Raises InvalidReport for an invalid name or text."""
    truncated = {name: truncate(text, max_length) for name, text in texts.items()}
    check_texts(truncated, max_length)
    return truncated


def check_texts(texts: Mapping[str, str], max_length: int) -> None:
    """Raises InvalidReport for an invalid name or text."""
    for name, text in texts.items():
        check_name(name)
        if len(text) > max_length:
            raise InvalidReport(
                _("The value of %(name)s has %(length)d characters; the limit is %(limit)d.")
                % {"name": name, "length": len(text), "limit": max_length}
            )
        check_storable(name, text)


def check_name(name: str) -> None:
    """Check the name of a hyperparameter, tag or metric. It may become a path, so it must be a
    normalized one. Raises InvalidReport.
    """
    if not 1 <= len(name) <= MAX_KEY_LENGTH:
        raise InvalidReport(
            _("A name must have 1 to %(limit)d characters.") % {"limit": MAX_KEY_LENGTH}
        )
    if not NAME.fullmatch(name) or not _is_plain_path(name):
        raise InvalidReport(
            _(
                "Invalid name %(name)s: it can contain letters, digits, spaces and _ - . : /, and "
                "as a path it must be relative and normalized."
            )
            % {"name": repr(name)}
        )


def _is_plain_path(name: str) -> bool:
    if name[0] in "/" or name == "." or name.startswith(".."):
        return False
    return posixpath.normpath(name) == name


def check_storable(name: str, text: str) -> None:
    if "\x00" in text:
        raise InvalidReport(_("%(name)s contains a NUL character.") % {"name": name})


def check_size(texts: Mapping[str, Any]) -> None:
    if len(texts) > MAX_NAMES or len(orjson.dumps(texts)) > MAX_BYTES:
        raise InvalidReport(
            _("A run can have at most %(names)d names and %(bytes)d bytes of them.")
            % {"names": MAX_NAMES, "bytes": MAX_BYTES}
        )
