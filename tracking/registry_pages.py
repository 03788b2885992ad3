"""Pages of the registry's searches. Its tables are small: a token is a position."""

from __future__ import annotations

import base64
import binascii
from typing import Final, TypeVar

from django.db.models import Model, QuerySet
from django.utils.translation import gettext as _

from tracking.errors import InvalidParameter

LAST_POSITION: Final = 2**31
M = TypeVar("M", bound=Model)


def page_of(rows: QuerySet[M], *, size: int, token: str) -> tuple[list[M], dict[str, str]]:
    """``size`` rows from where ``token`` says ("": the first), and the answer's next_page_token if
    there are more. Raises InvalidParameter for a token that was never given."""
    position = _position(token)
    found = list(rows[position : position + size + 1])
    more = {"next_page_token": _token(position + size)} if len(found) > size else {}
    return found[:size], more


def _token(position: int) -> str:
    return base64.urlsafe_b64encode(str(position).encode()).decode()


def _position(token: str) -> int:
    if not token:
        return 0
    try:
        position = int(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, binascii.Error):
        position = -1
    if not 0 <= position <= LAST_POSITION:
        raise InvalidParameter(_("The page token is none of ours."))
    return position
