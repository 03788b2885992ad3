"""Hand-written SQL, and why the ORM is not used for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.contrib.auth.models import User
from django.db import DEFAULT_DB_ALIAS

from core.database import Statement

# The user fields that most requests need; Django loads the others on access. In the model's field
# order, as Model.from_db expects.
COLUMNS: Final = ("id", "is_superuser", "username", "is_staff", "is_active")

TOKEN: Final = Statement(
    f"""
SELECT token.id, token.scope, coalesce(token.project_id, ''), token.expires_at,
    token.last_used_at, (SELECT number FROM accounts_accessversion),
    {", ".join(f"owner.{column}" for column in COLUMNS)}
FROM accounts_token AS token JOIN auth_user AS owner ON owner.id = token.user_id
WHERE token.digest = %(digest)s::text
"""  # noqa: S608  built from constants
)


@dataclass(frozen=True, slots=True)
class FoundToken:
    id: str
    scope: str
    project_id: str
    expires_at: datetime | None
    last_used_at: datetime | None
    access_version: int
    owner: User


def token_of_digest(digest: str) -> FoundToken | None:
    """The token with this hash; None if there is none.

    With the ORM, this lookup would take longer than the rest of most requests.
    """
    row = TOKEN.row(digest=digest)
    if row is None:
        return None
    id, scope, project_id, expires_at, last_used_at, version, *owner = row
    user = User.from_db(DEFAULT_DB_ALIAS, COLUMNS, owner)
    return FoundToken(id, scope, project_id, expires_at, last_used_at, version, user)
