"""A request for a new run that may be repeated: the header Idempotency-Key.

A client that has lost a response sends the request again with the same key, and gets the run of the
first one (draft-ietf-httpapi-idempotency-key-header).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from psycopg.errors import UniqueViolation
from rest_framework.request import Request

from accounts.users import user_of
from core.exceptions import DomainError, InvalidInput
from runs.models import Run
from runs.models.submission import Submission

HEADER: Final = "Idempotency-Key"
KEPT: Final = timedelta(days=2)
SWEPT_AT_ONCE: Final = 100

_KEY: Final = re.compile(r"[\x21-\x7e]{8,200}")


class KeyReused(DomainError):
    """The key belongs to another request."""

    code = "idempotency_key_reused"


def once(request: Request, create: Callable[[], Run]) -> tuple[Run, bool]:
    """The run that ``create`` makes, or that the same request has made before, and whether it is
    new. Without the header, always a new one. Raises InvalidInput, KeyReused, and what ``create``
    raises: then nothing is noted, and the key may be used again."""
    key = request.headers.get(HEADER)
    if key is None:
        return create(), True
    if not _KEY.fullmatch(key):
        raise InvalidInput(_("Idempotency-Key must be 8 to 200 visible ASCII characters."))
    digest = _digest(str(user_of(request).pk), key)
    asked = _digest(request.get_full_path(), repr(request.data))
    try:
        with transaction.atomic():
            # Whoever comes second waits here until the first has committed.
            note = Submission.objects.create(key=digest, request_digest=asked)
            _sweep()
            run = create()
            note.run = run
            note.save(update_fields=["run"])
            return run, True
    except IntegrityError as error:
        cause = error.__cause__
        table = Submission._meta.db_table
        if not isinstance(cause, UniqueViolation) or cause.diag.table_name != table:
            raise
    return _earlier(digest, asked), False


def _earlier(digest: str, asked: str) -> Run:
    note = Submission.objects.select_related("run").filter(key=digest).first()
    if note is None or note.run is None or note.request_digest != asked:
        raise KeyReused(_("This Idempotency-Key belongs to another request: use a new one."))
    return note.run


def _sweep() -> None:
    old = Submission.objects.filter(created_at__lt=Now() - KEPT).order_by("created_at")
    pks = old.select_for_update(skip_locked=True).values("pk")[:SWEPT_AT_ONCE]
    Submission.objects.filter(pk__in=pks).delete()


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x00".join(parts).encode(errors="surrogatepass")).hexdigest()
