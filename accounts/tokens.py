"""Tokens that TrainHub makes by itself, for the trainings it starts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.contrib.auth.models import User
from knox.models import AuthToken


def issue_token(user: User, *, life: timedelta) -> tuple[str, str]:
    """A token of ``user`` that expires after ``life``; and its digest, to revoke it by."""
    stored, token = AuthToken.objects.create(user, expiry=life)
    return token, stored.digest


def revoke_tokens(digests: Iterable[str]) -> None:
    AuthToken.objects.filter(digest__in=list(digests)).delete()
