"""What people write about a run: its name, its note, its tags. Its events tell who changed what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from core.exceptions import InvalidInput
from core.text import MAX_NAME_LENGTH, truncate
from runs.models import EventKind, Run
from runs.params_tags import MAX_TAG_LENGTH, NAME_TAG
from runs.reports import check_size, check_storable, check_texts, in_trash

# Markdown. With this tag, MLflow's clients and its UI read and write the same note.
NOTE_TAG: Final = "mlflow.note.content"
MAX_NOTE_LENGTH: Final = MAX_TAG_LENGTH
SYSTEM_PREFIX: Final = "mlflow."  # of tags that MLflow's clients set for themselves
MAX_SHOWN: Final = 200  # characters of a tag in an event


def note_of(run: Run) -> str:
    """The run's note, as Markdown; empty if it has none."""
    text: str = run.tags.get(NOTE_TAG, "")
    return text


def own_tags(run: Run) -> dict[str, str]:
    """The tags that people and scripts have set, by key: none of MLflow's system."""
    items = sorted(run.tags.items())
    return {key: text for key, text in items if not key.startswith(SYSTEM_PREFIX)}


def describe(
    run: Run,
    *,
    by: User | None,
    name: str | None = None,
    notes: str | None = None,
    tags: Mapping[str, str | None] | None = None,
) -> None:
    """Change the run's name, its note and its tags, in one transaction; an event for each that
    differs says who did it.

    None leaves the name or the note as it is; an empty note deletes it. ``tags`` are merged into
    the run's: None deletes a tag. Raises InvalidInput, InvalidReport, InTrash, Run.DoesNotExist.
    """
    changes = dict(tags or {})
    _check_tags(changes)
    if name is not None:
        name = _checked_name(name)
    if notes is not None:
        changes[NOTE_TAG] = _checked_note(notes) or None
    with transaction.atomic():
        current = Run.objects.lock(run.pk)
        if current.deleted_at is not None:
            raise in_trash(run.pk)
        if name is not None and name != current.name:
            current.note(EventKind.RENAMED, reason=f"{current.name} → {name}", by=by)
            current.change(name=name)
        _change_tags(current, changes, by=by)
    run.refresh_from_db(fields=["name", "tags", "updated_at"])


def _change_tags(run: Run, changes: Mapping[str, str | None], *, by: User | None) -> None:
    before: dict[str, str] = run.tags
    differing = {key: text for key, text in changes.items() if before.get(key) != text}
    if not differing:
        return
    after = {key: text for key, text in {**before, **differing}.items() if text is not None}
    check_size(after)
    run.change(tags=after)
    if NOTE_TAG in differing:
        run.note(EventKind.NOTE_CHANGED, by=by)
    told = [key for key in differing if key != NOTE_TAG]
    if told:
        lines = [_told(key, before.get(key), differing[key]) for key in told]
        run.note(EventKind.TAGS_CHANGED, reason="\n".join(lines), by=by)


def _told(key: str, before: str | None, after: str | None) -> str:
    texts = [truncate(text, MAX_SHOWN) for text in (before, after) if text is not None]
    if after is None:
        return f"- {key}: {texts[0]}"
    return f"{key}: {' → '.join(texts)}"


def _checked_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise InvalidInput(
            _("A run's name must have 1 to %(limit)d characters.") % {"limit": MAX_NAME_LENGTH},
            attr="name",
        )
    check_storable("name", name)
    return name


def _checked_note(notes: str) -> str:
    if len(notes) > MAX_NOTE_LENGTH:
        raise InvalidInput(
            _("A note can have at most %(limit)d characters.") % {"limit": MAX_NOTE_LENGTH},
            attr="notes",
        )
    check_storable("notes", notes)
    return notes.strip()


def _check_tags(tags: Mapping[str, Any]) -> None:
    for key, field in ((NAME_TAG, "name"), (NOTE_TAG, "notes")):
        if key in tags:
            raise InvalidInput(
                _("%(key)s is no tag here: use “%(field)s”.") % {"key": key, "field": field},
                attr="tags",
            )
    check_texts({key: text or "" for key, text in tags.items()}, MAX_TAG_LENGTH)
