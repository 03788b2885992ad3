"""Tokens that TrainHub issues to the runs it starts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.contrib.auth.models import User
from knox.models import AuthToken


def issue_token(user: User, *, life: timedelta) -> tuple[str, str]:
    """Issue a token to ``user`` that expires after ``life``. Return it with its digest."""
    stored, token = AuthToken.objects.create(user, expiry=life)
    return token, stored.digest


def revoke_tokens(digests: Iterable[str]) -> None:
    AuthToken.objects.filter(digest__in=list(digests)).delete()
