"""What to say when a row is not found: it is hidden from strangers, and kept from readers."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet

from accounts.grants import give, grant_of
from accounts.roles import Role
from projects.access import refusal_of_role
from tracking.errors import MlflowError, Unseen


def unseen(caller: User, rows: QuerySet[Any], message: str) -> MlflowError:
    """The error for ``rows``, one at most, of which nothing is visible to the caller: that it is
    not found, or that they may only read it if the request is to change it."""
    grant = grant_of(caller)
    if grant.needed_role > Role.VIEWER and not grant.run_id:
        reader = give(copy(caller), replace(grant, needed_role=Role.VIEWER))
        if rows.visible_to(reader).exists():  # type: ignore[attr-defined]
            return MlflowError("PERMISSION_DENIED", refusal_of_role(grant.needed_role))
    return Unseen(message)
