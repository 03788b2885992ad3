"""SQL beyond the ORM: one query a function, and why the ORM could not say it."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.contrib.auth.models import User
from django.db import DEFAULT_DB_ALIAS

from trainhub.database import Statement

# What most requests want to know of their user; anything else is read when it is asked for. In the
# model's order, as Model.from_db takes them.
COLUMNS: Final = ("id", "is_superuser", "username", "is_staff", "is_active")

TOKEN: Final = Statement(
    f"""
SELECT token.expiry, {", ".join(f"owner.{column}" for column in COLUMNS)}
FROM knox_authtoken AS token JOIN auth_user AS owner ON owner.id = token.user_id
WHERE token.digest = %(digest)s::text
"""  # noqa: S608  put together of our own constants
)


def token_of_digest(digest: str) -> tuple[User, datetime | None] | None:
    """Whose token that is, and when it expires, if ever.

    The ORM would take longer over this than most requests take over all they are asked for.
    """
    found = TOKEN.row(digest=digest)
    if found is None:
        return None
    expiry, *values = found
    return User.from_db(DEFAULT_DB_ALIAS, COLUMNS, values), expiry
