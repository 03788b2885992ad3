"""Raw SQL, one query per function, each with the reason the ORM cannot express it."""

from django.db import connection

PROMOTIONS_LOCK = 0x7072_6F6D  # must differ from the keys of TrainHub's other advisory locks


def lock_promotions() -> None:
    """Serialize changes to tags, stages and aliases; the lock is held until the transaction ends.

    A tag changes a checkpoint and the versions and aliases of any number of models. One lock is
    simpler than a lock order for all these rows. The ORM does not support advisory locks. Call it
    before locking any row.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PROMOTIONS_LOCK])
