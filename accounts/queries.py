"""Hand-written SQL, and why the ORM is not used for it."""

from __future__ import annotations

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
SELECT token.expiry, {", ".join(f"owner.{column}" for column in COLUMNS)}
FROM knox_authtoken AS token JOIN auth_user AS owner ON owner.id = token.user_id
WHERE token.digest = %(digest)s::text
"""  # noqa: S608  built from constants
)


def token_of_digest(digest: str) -> tuple[User, datetime | None] | None:
    """The token's owner and expiry (None: never), or None if there is no such token.

    With the ORM, this lookup would take longer than the rest of most requests.
    """
    row = TOKEN.row(digest=digest)
    if row is None:
        return None
    expiry, *values = row
    return User.from_db(DEFAULT_DB_ALIAS, COLUMNS, values), expiry
