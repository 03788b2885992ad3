"""What the ORM cannot say: a lock that only keeps rows from being deleted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from core.database import Statement
from notices.models import Webhook

# Django has no FOR KEY SHARE. Those of transactions that only insert deliveries do not wait for
# each other, as they would with FOR NO KEY UPDATE.
HOLD: Final = Statement("""
SELECT id FROM notices_webhook WHERE id = ANY(%(ids)s::text[]) ORDER BY id FOR KEY SHARE
""")


def held(hooks: Iterable[Webhook]) -> list[Webhook]:
    """Those that are still there, and will be until the transaction ends: without this, one that is
    deleted meanwhile would let the commit of what is told fail. Call in a transaction."""
    found = list(hooks)
    if not found:
        return []
    kept = {pk for (pk,) in HOLD.rows(ids=[hook.pk for hook in found])}
    return [hook for hook in found if hook.pk in kept]
