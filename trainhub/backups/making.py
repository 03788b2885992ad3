"""Makes a backup while the system is running."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg
from django.conf import settings
from django.db import connection, transaction
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext as _
from tqdm import tqdm

from artifacts.deletion_hold import hold_deletions, holds_deletions
from artifacts.models import Artifact, EvaluationResult
from artifacts.storage import artifact_storage
from core.sessions import lift_limits
from trainhub.backups import place, postgres_tools, tables
from trainhub.backups.errors import BackupError, byte_bar
from trainhub.backups.place import Backup, Kept, Pool
from trainhub.stored_files import Reference, references

EXPECTED: Final = "expected.jsonl"
# Between the bytes of a file that a run rewrites, and their row, there are milliseconds.
SETTLED_WITHIN_SECONDS = 10.0
POLL_SECONDS: Final = 0.2


def make_backup(directory: Path, *, verify: bool = False, keep: int | None = None) -> Backup:
    """Back up the database and the stored files into ``directory``, next to earlier backups, with
    which it shares files. ``verify``: read it again; ``keep``: so many backups, the newest ones.

    Raises BackupError, OSError, django.db.Error, errors of the storage.
    """
    lift_limits()
    with place.locked(directory):
        backup = _make(directory, datetime.now(UTC))
        if verify:
            backup.check()
            backup.check_files()
        if keep is not None:
            place.prune(directory, keep=keep)
    return backup


def _make(directory: Path, started: datetime) -> Backup:
    name = started.strftime("%Y%m%dT%H%M%S.%fZ")
    draft = directory / f"{place.UNFINISHED}{name}"
    draft.mkdir(mode=0o700)
    try:
        with deletions_held() as check_hold:
            manifest = _save_database(draft, started)
            copied = _Copying(Pool(directory), draft)
            copied.copy_all()
            check_hold()
        (draft / EXPECTED).unlink()
        return place.finish(draft, directory / name, {**manifest, **copied.described()})
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)  # it may have filled the disk
        raise


def key_fingerprint() -> str:
    """Tells whether two secret keys are the same, and nothing else of them."""
    return salted_hmac("trainhub.backups", "key").hexdigest()[:16]


@contextmanager
def deletions_held() -> Iterator[Any]:
    """On a connection of its own, so that no snapshot is held for as long as files are copied:
    vacuum would not remove rows meanwhile."""
    with postgres_tools.connect() as holder:
        hold_deletions(holder, waiting=_tell_to_wait)

        def check() -> None:
            try:
                if holds_deletions(holder):
                    return
            except psycopg.OperationalError:
                pass  # the same problem
            raise BackupError(
                _("The connection to the database was lost: files may have been deleted meanwhile.")
            )

        yield check


def _tell_to_wait() -> None:
    sys.stderr.write(_("Waiting for another backup or export, or for deletions of files.") + "\n")


def _save_database(draft: Path, started: datetime) -> dict[str, Any]:
    """Dump the database, and write down which files it refers to at that moment."""
    with tables.exported_snapshot() as snapshot:
        postgres_tools.dump(draft / place.DATABASE, snapshot=snapshot)
        names = tables.tables()
        with tqdm(names, desc=_("counting"), unit=_(" tables"), disable=None) as bar:
            summed_up = {name: tables.summed_up(name) for name in bar}
        with (draft / EXPECTED).open("w", encoding="utf-8") as file:
            for reference in references():
                file.write(json.dumps(asdict(reference)) + "\n")
        migrations = _migrations()
    return {
        "version": settings.SPECTACULAR_SETTINGS["VERSION"],
        "created_at": started.isoformat(),
        "server_major": postgres_tools.server_major(),
        "migrations": migrations,
        "tables": summed_up,
        "key_fingerprint": key_fingerprint(),
    }


def _migrations() -> dict[str, list[str]]:
    applied = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute("SELECT app, name FROM django_migrations ORDER BY app, name")
        for app, name in cursor.fetchall():
            applied[app].append(name)
    return dict(applied)


@dataclass
class _Copying:
    """Copies what the snapshot refers to. ``pending``: files whose bytes are not those recorded:
    a run has rewritten them since, or is about to record it, or they are damaged."""

    pool: Pool
    draft: Path
    count: int = 0
    bytes: int = 0
    missing: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    pending: list[Reference] = field(default_factory=list)
    amended: list[str] = field(default_factory=list)

    def described(self) -> dict[str, Any]:
        return {
            "file_count": self.count,
            "file_bytes": self.bytes,
            "missing": self.missing,
            "differing": self.differing,
        }

    def copy_all(self) -> None:
        expected = self._expected()
        total = sum(reference.size_bytes for reference in self._expected())
        with (self.draft / place.FILES).open("w", encoding="utf-8") as self._list:
            with byte_bar(_("copying"), total) as bar:
                for reference in expected:
                    self._copy(reference)
                    bar.update(reference.size_bytes)
            rows = self._settle()
        place.write(self.draft / place.AMENDED, json.dumps(rows, ensure_ascii=False).encode())

    def _expected(self) -> Iterator[Reference]:
        with (self.draft / EXPECTED).open(encoding="utf-8") as lines:
            for line in lines:
                yield Reference(**json.loads(line))

    def _copy(self, reference: Reference) -> None:
        if reference.sha256 and self.pool.has(reference.sha256, reference.size_bytes):
            self._keep(Kept(reference.key, reference.sha256, reference.size_bytes))
            return
        kept = self._copied(reference)
        if _is_as_recorded(kept, reference):
            self._keep(kept)
        elif reference.may_change:
            self.pending.append(reference)
        else:
            self._keep_differing(kept)

    def _copied(self, reference: Reference) -> Kept:
        """What the storage has under its key."""
        try:
            with artifact_storage().open(reference.key, "rb") as source:
                sha256, size = self.pool.add(source)
        except FileNotFoundError:
            return Kept(reference.key, "", 0)
        return Kept(reference.key, sha256, size)

    def _keep(self, kept: Kept) -> None:
        self.count += 1
        self.bytes += kept.size_bytes
        self._list.write(json.dumps(asdict(kept), ensure_ascii=False) + "\n")

    def _keep_differing(self, kept: Kept) -> None:
        """The backup has what the storage has, and says so."""
        (self.differing if kept.sha256 else self.missing).append(kept.key)
        self._keep(kept)

    def _settle(self) -> dict[str, Any]:
        """Wait until the rows of rewritten files tell of their bytes; return these rows."""
        rows: dict[str, Any] = {"artifacts": [], "results": []}
        deadline = time.monotonic() + SETTLED_WITHIN_SECONDS
        while self.pending:
            is_last = time.monotonic() > deadline
            self.pending = [it for it in self.pending if not self._settled(it, rows, is_last)]
            if self.pending:
                time.sleep(POLL_SECONDS)
        return rows

    def _settled(self, reference: Reference, rows: dict[str, Any], is_last: bool) -> bool:
        kept = self._copied(reference)
        if _is_as_recorded(kept, reference):
            self._keep(kept)
        elif kept.sha256 and (artifact := _row_of(reference, kept, rows)):
            rows["artifacts"].append(artifact)
            self._keep(kept)
        elif is_last:
            self._keep_differing(kept)
        else:
            return False
        return True


def _is_as_recorded(kept: Kept, reference: Reference) -> bool:
    if not reference.sha256:
        return bool(kept.sha256) and kept.size_bytes == reference.size_bytes
    return kept.sha256 == reference.sha256


def _row_of(reference: Reference, kept: Kept, rows: dict[str, Any]) -> dict[str, Any] | None:
    """The artifact's row as it is now, if it is that of the bytes; its results go to ``rows``."""
    with transaction.atomic():
        artifact = Artifact.every.select_related("run").filter(pk=reference.artifact)
        found = artifact.select_for_update(no_key=True, of=("self",)).first()
        if found is None or (found.storage_key, found.sha256) != (kept.key, kept.sha256):
            return None
        rows["results"] += _as_json(EvaluationResult, "artifact_id", reference.artifact)
        [row] = _as_json(Artifact, "id", reference.artifact)
    return row


def _as_json(model: Any, column: str, value: str) -> list[dict[str, Any]]:
    table = model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT to_jsonb(it)::text FROM {table} AS it WHERE {column} = %s",  # noqa: S608
            [value],
        )
        return [json.loads(text) for (text,) in cursor.fetchall()]
