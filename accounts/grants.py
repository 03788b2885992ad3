"""What the credentials of a request allow of what their user may do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User

from accounts.roles import Role

AnyUser = AbstractBaseUser | AnonymousUser


@dataclass(frozen=True, slots=True)
class Grant:
    """``highest_role``: that the caller has at most, wherever. ``project_id``: the only project;
    ``run_id``: the only run, for the token of its script; both empty: no such limit.

    ``needed_role``: without it nothing is visible to the request, see ``needing``.
    ``access_version``: changes with every change of anybody's access, see AccessVersion; None if
    it is not known.
    """

    highest_role: Role = Role.OWNER
    project_id: str = ""
    run_id: str = ""
    token_id: str = ""
    needed_role: Role = Role.VIEWER
    access_version: int | None = None


UNLIMITED: Final = Grant()


def grant_of(user: AnyUser) -> Grant:
    """That of the credentials by which ``user`` calls; for a password or a session, no limit."""
    grant: Grant = getattr(user, "grant", UNLIMITED)
    return grant


def give(user: User, grant: Grant) -> User:
    """Limit what ``user`` may do in this request. Return the same object."""
    user.grant = grant  # type: ignore[attr-defined]
    return user


def needing(user: User, role: Role) -> User:
    """Make ``visible_to(user)`` yield only what the caller has ``role`` for, for the rest of the
    request: what changes something then cannot find what the caller may only read."""
    return give(user, replace(grant_of(user), needed_role=role))
