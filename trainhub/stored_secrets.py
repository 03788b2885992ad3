"""Which columns have secrets that are encrypted with SECRET_KEY (core/secrets.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from django.apps import apps
from django.db import models, transaction

from core.secrets import Unreadable, encrypt_again, is_current
from notices.models import Webhook

PREFIX: Final = "encrypted_"
# Whose names do not begin as the others do.
OTHERS: Final[dict[type[models.Model], tuple[str, ...]]] = {Webhook: ("earlier_secret",)}


def columns() -> Iterator[tuple[type[models.Model], list[str]]]:
    """Of every model that has some: their names. Each is a text, or an object in JSON whose values
    are encrypted."""
    for model in apps.get_models():
        names = [field.name for field in model._meta.concrete_fields]
        found = [name for name in names if name.startswith(PREFIX)] + [*OTHERS.get(model, ())]
        if found:
            yield model, found


def rotate(told: Callable[[str], None]) -> tuple[int, int]:
    """Encrypt anew, with SECRET_KEY, what was encrypted with one of SECRET_KEY_FALLBACKS. How many
    secrets were, and how many no key reads; ``told`` is called with each of the latter."""
    rotated = unreadable = 0
    for model, names in columns():
        rows = model._default_manager.all()
        for key in rows.values_list("pk", flat=True).order_by("pk"):
            with transaction.atomic():
                row = rows.select_for_update(of=("self",)).filter(pk=key).first()
                if row is None:
                    continue  # deleted meanwhile
                changed = []
                for name in names:
                    value, count, lost = _again(getattr(row, name))
                    for what in lost:
                        told(".".join(filter(None, (f"{model._meta.label} {key} {name}", what))))
                    rotated, unreadable = rotated + count, unreadable + len(lost)
                    if count:
                        setattr(row, name, value)
                        changed.append(name)
                if changed:
                    row.save(update_fields=changed)
    return rotated, unreadable


def _again(value: Any) -> tuple[Any, int, list[str]]:
    """The value as it is to be stored, how many secrets of it were encrypted anew, and the keys of
    those that cannot be read ("" of a text)."""
    if not isinstance(value, dict):
        found, count, lost = _again({"": value} if value else {})
        return found.get("", value), count, lost
    again, count, lost = dict(value), 0, []
    for key, encrypted in value.items():
        if is_current(encrypted):
            continue
        try:
            again[key] = encrypt_again(encrypted)
        except Unreadable:
            lost.append(key)
        else:
            count += 1
    return again, count, lost
