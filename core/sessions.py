"""What is set for every database session: see docs/adr/0019-limits-of-database-sessions.md.

By SET, which every connection pooler passes on, and in the one round trip that a new connection
costs anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.utils import CursorWrapper

SESSION: Final = {
    # Plan prepared statements (only core/database.py has any) once. By default PostgreSQL replans
    # the longest one on every call, which takes longer than running it for a single point.
    "plan_cache_mode": "force_generic_plan",
    # Queries over many runs take tens of milliseconds; compiling one takes longer than it saves.
    "jit": "off",
    # The locks of a host that is gone are released after a minute (TCP only).
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
LIMITS: Final = ("lock_timeout", "idle_in_transaction_session_timeout")

# In a process that answers requests, whoever asked has left after some time.
_request_limits: dict[str, str] = {}


def limit_requests() -> None:
    """From now on, this process's new sessions also end statements that take too long."""
    _request_limits["statement_timeout"] = settings.STATEMENT_TIMEOUT


def answers_requests() -> bool:
    return bool(_request_limits)


def prepare_connection(*, connection: Any, **_signal: Any) -> None:
    """Receiver of Django's connection_created signal (connected in CoreConfig)."""
    _set(connection, {**SESSION, **settings.SESSION_LIMITS, **_request_limits})


@contextmanager
def limited_copy(cursor: CursorWrapper) -> Iterator[None]:
    """A COPY whose client has stopped is not idle: limit it as a statement. In a transaction."""
    if answers_requests():
        yield
        return
    milliseconds = round(settings.WORKER_LEASE_SECONDS * 1000 / 2)
    cursor.execute(f"SET LOCAL statement_timeout = {milliseconds}")
    yield
    cursor.execute("SET LOCAL statement_timeout TO DEFAULT")


def lift_limits(using: str = DEFAULT_DB_ALIAS) -> None:
    """For work that waits for whom it must and keeps what it has, such as migrations."""
    connections[using].ensure_connection()
    _set(connections[using], dict.fromkeys(LIMITS, "0"))


def lift_limits_to_migrate(*, using: str, **_signal: Any) -> None:
    """Receiver of Django's pre_migrate signal."""
    lift_limits(using)


def restore_limits_after_migrating(*, using: str, **_signal: Any) -> None:
    """Receiver of Django's post_migrate signal."""
    prepare_connection(connection=connections[using])


def _set(connection: Any, values: dict[str, str]) -> None:
    statements = "; ".join(f"SET {name} = '{value}'" for name, value in values.items())
    connection.connection.execute(statements)
