"""Tokens that TrainHub issues to the runs it starts. Each works for its run alone.

Such a token ends with the run's id. It is authentic as the rest is: what is stored is the hash of
the whole token, so that another id makes another token, which nobody has been issued.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from django.contrib.auth.models import User
from django.utils import timezone
from knox.crypto import create_token_string, hash_token
from knox.models import AuthToken
from knox.settings import CONSTANTS, knox_settings

SEPARATOR: Final = "."  # never part of other tokens


def issue_script_token(user: User, run_id: str, *, life: timedelta) -> tuple[str, str]:
    """Issue a token to ``user`` that works for the run ``run_id`` and expires after ``life``.
    Return it with its digest."""
    token = f"{knox_settings.TOKEN_PREFIX}{create_token_string()}{SEPARATOR}{run_id}"
    digest = hash_token(token)
    AuthToken(
        digest=digest,
        token_key=token[: CONSTANTS.TOKEN_KEY_LENGTH],
        user=user,
        expiry=timezone.now() + life,
    ).save()
    return token, digest


def run_of(token: str) -> str:
    """The id of the run that ``token``, a valid one, is for; empty if it is not a script's."""
    return token.partition(SEPARATOR)[2]


def revoke_tokens(digests: Iterable[str]) -> None:
    AuthToken.objects.filter(digest__in=list(digests)).delete()
