"""Tokens that TrainHub issues to the runs it starts. Each works for its run alone.

Such a token ends with the run's id. It is authentic as the rest is: what is stored is the hash of
the whole token, so that another id makes another token, which nobody has been issued.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.contrib.auth.models import User

from accounts.models import Token
from accounts.roles import Scope


def issue_script_token(user: User, run_id: str, *, life: timedelta) -> tuple[str, str]:
    """Issue a token to ``user`` that works for the run ``run_id`` and expires after ``life``.
    Return it with its digest."""
    token, secret = Token.issue(user, scope=Scope.WRITE, run_id=run_id, life=life)
    return secret, token.digest


def revoke_tokens(digests: Iterable[str]) -> None:
    Token.objects.filter(digest__in=list(digests)).delete()
