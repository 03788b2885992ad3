"""Entries of sign-ins: the changes that are in no table. Receivers of Django's signals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest

from audit.callers import caller_of
from audit.models import Entry


def signed_in(request: HttpRequest | None, user: User, **_signal: Any) -> None:
    _record("session.signed_in", request, user)


def signed_out(request: HttpRequest | None, user: User | None, **_signal: Any) -> None:
    if user is not None:
        _record("session.signed_out", request, user)


def refused(
    credentials: Mapping[str, Any], request: HttpRequest | None = None, **_signal: Any
) -> None:
    """Only the name of an account is kept: people type passwords into the field for names. Attempts
    beyond the limits of accounts/sign_in/limits.py are not checked, and not recorded."""
    name = str(credentials.get("username") or "")
    user = User.objects.filter(username=name).first() if "\x00" not in name else None
    reason = str(credentials.get("reason") or "")
    _record("session.refused", request, user, after={"reason": reason} if reason else None)


def _record(
    action: str, request: HttpRequest | None, user: User | None, *, after: Any = None
) -> None:
    by = caller_of(request, user)
    is_refused = action == "session.refused"
    Entry.objects.create(
        action=action,
        kind="session",
        subject_id="" if user is None else str(user.pk),
        name=by.user,
        actor_id=None if is_refused else by.user_id,
        actor="" if is_refused else by.user,
        address=by.address,
        via=by.via,
        request_id=by.request_id,
        after=after,
    )
