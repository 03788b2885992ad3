"""What of a table's rows is told in the audit. Each app declares its own in its ``audited.py``.

The declarations are data: the app ``audit`` makes a trigger of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from django.db.models import Model

EVERY_KEY: Final = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """``columns``: told when a row is created or deleted; ``changing``: whose changes are told, by
    default all of them. SQL expressions write ``{row}`` for the row.

    ``subject``, ``name``: by which the row is found and shown. ``project``, ``team``: whose entry
    it is. ``when``: a condition without which nothing is told. ``only_by_users``: not what TrainHub
    does by itself. ``secret``: columns of which nothing but the change is told; ``masked``: the
    same for the values of an object in JSON, all of them or those of the keys. ``actions``: column
    -> what it is called that it changes, in the order of preference; with a second name for a value
    that becomes empty.
    """

    model: type[Model]
    kind: str
    columns: Sequence[str]
    changing: Sequence[str] | None = None
    subject: str = "{row}.id"
    name: str = "''"
    project: str = "NULL"
    team: str = "NULL"
    when: str = "true"
    only_by_users: bool = False
    secret: Sequence[str] = ()
    masked: Mapping[str, Sequence[str]] = field(default_factory=dict)
    actions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    operations: Sequence[str] = ("INSERT", "UPDATE", "DELETE")

    @property
    def table(self) -> str:
        return str(self.model._meta.db_table)

    @property
    def watched(self) -> Sequence[str]:
        """The columns whose changes are told."""
        return self.columns if self.changing is None else self.changing


_declared: list[Audited] = []


def declare(*specifications: Audited) -> None:
    _declared.extend(specifications)


def declared() -> list[Audited]:
    return list(_declared)
