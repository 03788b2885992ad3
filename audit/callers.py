"""On whose behalf a statement changes what is audited.

Each such statement begins with a comment that names its caller; the trigger reads it from the
statement's own text (``current_query()``). So it costs no statement of its own, and is right
whatever is rolled back, and through any pool of connections. See
docs/adr/0037-audit-by-triggers.md.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import sys
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from django.contrib.auth.models import User
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import HttpRequest

from accounts.grants import grant_of
from accounts.open_mode import LOCAL_ADMINISTRATOR, is_local_administrator
from core.audited import declared
from core.current_request import current_request
from core.log_context import request_id

WRITES: Final = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+\"?(\w+)", re.IGNORECASE)
WEB: Final = "web"

# While it is found out who calls, which may write as well: the account of the local administrator.
_is_asking: ContextVar[bool] = ContextVar("asking_for_the_caller", default=False)


class Caller(NamedTuple):
    """``via``: "web", "mcp" for agents (agents/rest.py), or the management command. Without a
    user: TrainHub itself."""

    via: str
    user_id: int | None = None
    user: str = ""
    token_id: str = ""
    address: str | None = None
    request_id: str = ""


def caller(*, of_account: bool = False) -> Caller:
    """``of_account``: the statement changes an account, maybe that of the local administrator,
    which is made at its first use: then it is not asked for."""
    request = current_request()
    user = getattr(request, "user", None)
    if user is not None and not user.is_authenticated:
        user = None
    if of_account and is_local_administrator(user):
        return _caller(request, None)._replace(user=LOCAL_ADMINISTRATOR)
    return _caller(request, user)


def caller_of(request: HttpRequest | None, user: User | None) -> Caller:
    """The same for somebody who has just signed in, or has tried to."""
    return _caller(request, user)


def _caller(request: HttpRequest | None, user: User | None) -> Caller:
    return Caller(
        via=_command() if request is None else getattr(request, "via", WEB),
        user_id=None if user is None else user.pk,
        user="" if user is None else user.get_username(),
        token_id="" if user is None else grant_of(user).token_id,
        address=None if request is None else _address_of(request),
        request_id="" if request is None else request_id() or "",
    )


def _address_of(request: HttpRequest) -> str | None:
    """Of the client: behind nginx, what a trusted proxy says. None over a socket without one."""
    try:
        return str(ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))).partition("%")[0]
    except ValueError:
        return None


@cache
def _command() -> str:
    """The management command that this process runs."""
    program, *arguments = sys.argv or [""]
    name = Path(program).name
    return arguments[0] if name == "manage.py" and arguments else name


@cache
def _tables() -> frozenset[str]:
    return frozenset(specification.table for specification in declared())


def tag_statements(connection: BaseDatabaseWrapper, **_signal: Any) -> None:
    """Receiver of connection_created."""
    if _tagging not in connection.execute_wrappers:
        connection.execute_wrappers.append(_tagging)


def _tagging(
    execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    if isinstance(sql, str) and (match := WRITES.match(sql)) and match[1] in _tables():
        sql = comment(match[1]) + sql
    return execute(sql, params, many, context)


def comment(table: str) -> str:
    """In Base64, which ends no comment and begins no placeholder."""
    if _is_asking.get():
        return ""
    token = _is_asking.set(True)
    try:
        content = orjson.dumps(caller(of_account=table == User._meta.db_table)._asdict())
    finally:
        _is_asking.reset(token)
    return f"/*trainhub:{base64.b64encode(content).decode()}*/ "
