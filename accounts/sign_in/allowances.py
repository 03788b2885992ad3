"""How much of each limit of sign-in is used up, shared by all web servers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from django.db import models

from core.database import Statement, Texts


class Limit(NamedTuple):
    """``burst`` attempts at once, then one every ``seconds``."""

    name: str
    burst: int
    seconds: float


class Allowance(models.Model):
    """One limit of one account or address. The generic cell rate algorithm (ATM Forum, Traffic
    Management 4.1, 4.4.2) needs a single time: when all that was used is given back."""

    key = models.CharField(max_length=64, primary_key=True)  # a digest: see ``key_of`` in limits.py
    used_until = models.DateTimeField(db_index=True)

    class Meta:
        db_table = "accounts_sign_in_allowance"

    def __str__(self) -> str:
        return self.key


_TAKE: Final = Statement(
    """
INSERT INTO accounts_sign_in_allowance AS stored (key, used_until)
VALUES (
    %(key)s::text, statement_timestamp() + make_interval(secs => %(seconds)s::double precision)
)
ON CONFLICT (key) DO UPDATE
SET used_until = greatest(stored.used_until, statement_timestamp())
    + make_interval(secs => %(seconds)s::double precision)
WHERE stored.used_until <= statement_timestamp() + make_interval(secs => %(room)s::double precision)
RETURNING 1
"""
)
_GIVE_BACK: Final = Statement(
    """
UPDATE accounts_sign_in_allowance
SET used_until = used_until - make_interval(secs => %(seconds)s::double precision)
WHERE key = %(key)s::text
"""
)
_SECONDS_LEFT: Final = Statement(
    """
SELECT key, extract(epoch FROM used_until - statement_timestamp())::double precision
FROM accounts_sign_in_allowance WHERE key = ANY(%(keys)s)
"""
)
_KEEP: Final = Statement(
    """
INSERT INTO accounts_sign_in_allowance (key, used_until)
VALUES (%(key)s::text, %(until)s::timestamptz)
ON CONFLICT (key) DO UPDATE SET used_until = excluded.used_until
"""
)
_PRUNE: Final = Statement(
    """
DELETE FROM accounts_sign_in_allowance WHERE key IN (
    SELECT key FROM accounts_sign_in_allowance WHERE used_until < statement_timestamp()
    ORDER BY used_until LIMIT 20 FOR UPDATE SKIP LOCKED
)
"""
)


def take(key: str, limit: Limit) -> bool:
    """Use one attempt of ``limit``; False if none is left. Atomic: of attempts at the same time, no
    more pass than are left."""
    room = (limit.burst - 1) * limit.seconds
    return _TAKE.row(key=key, seconds=limit.seconds, room=room) is not None


def give_back(key: str, limit: Limit) -> None:
    _GIVE_BACK.run(key=key, seconds=limit.seconds)


def seconds_left(keys: Sequence[str]) -> dict[str, float]:
    """Until all that was used of each is given back; without those of which nothing is stored."""
    return {key: seconds for key, seconds in _SECONDS_LEFT.rows(keys=Texts(keys)) if seconds > 0}


def wait_of(limit: Limit, seconds: float) -> float:
    """The seconds until ``limit`` has an attempt again, of which ``seconds`` are used up."""
    return max(0.0, seconds - (limit.burst - 1) * limit.seconds)


def keep(key: str, until: datetime) -> None:
    """Store a fact that holds until then."""
    _KEEP.run(key=key, until=until)


def prune() -> None:
    """Delete some rows that say nothing any more: more than one attempt adds."""
    _PRUNE.run()
