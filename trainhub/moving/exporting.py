"""Writes all that belongs to a project into a folder: see layout.py."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
from django.conf import settings
from django.db import connection, transaction
from django.utils.translation import gettext as _

from artifacts.models import Artifact
from artifacts.storage import HashingFile, artifact_storage
from core.sessions import lift_limits
from core.text import truncate
from logs.models import LogLine
from metrics import exports
from projects.models import Project
from runs.models import CodeBundle, Run
from trainhub.backups.errors import byte_bar
from trainhub.backups.making import deletions_held
from trainhub.moving.layout import (
    CHUNK_BYTES,
    LOGS,
    METRICS,
    FileFacts,
    Manifest,
    MovingError,
    artifact_path,
    file_facts,
    table_path,
    within,
)
from trainhub.moving.tables import TABLES

LINES_PER_GROUP: Final = 20_000  # of the log: a row group is built in memory
MAX_REASON: Final = 200


@dataclass(frozen=True)
class StoredBytes:
    """``path``: in the export; ``key``: in the storage; ``artifact``: its id, if it is one;
    ``may_change``: its run may write other bytes under this key."""

    path: str
    key: str
    size_bytes: int
    sha256: str
    artifact: str = ""
    may_change: bool = False


@dataclass
class Exported:
    manifest: Manifest
    problems: list[str] = field(default_factory=list)


def export_project(project_id: str, folder: Path) -> Exported:
    """Write ``folder``, which must not exist, or be empty. It is there whole or not at all.

    Raises MovingError, OSError, errors of the storage.
    """
    project = Project.objects.filter(pk=project_id).first()
    if project is None:
        raise MovingError(_("There is no project with the ID %(id)s.") % {"id": project_id})
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MovingError(_("%(folder)s is there already.") % {"folder": folder})
    lift_limits()
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.parent / f".{folder.name}.{secrets.token_hex(4)}"
    draft.mkdir(mode=0o700)
    try:
        with deletions_held() as check_hold:
            exported = _Export(project, draft).write()
            check_hold()
        if folder.exists():
            folder.rmdir()
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return exported


@dataclass
class _Export:
    project: Project
    folder: Path
    counts: dict[str, int] = field(default_factory=dict)
    files: dict[str, FileFacts] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def write(self) -> Exported:
        started = datetime.now(UTC)
        with transaction.atomic():  # all rows as of one moment
            if not connection.savepoint_ids:
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            self._tables()
            self._metrics()
            self._logs()
            stored = list(_stored_bytes(self.project))
        self._copy_all(stored)
        manifest = Manifest(
            project={"id": self.project.pk, "name": self.project.name},
            version=settings.SPECTACULAR_SETTINGS["VERSION"],
            exported_at=started.isoformat(),
            counts=self.counts,
            files=self.files,
            missing=self.missing,
        )
        manifest.write(self.folder)
        return Exported(manifest, self.problems)

    def _tables(self) -> None:
        (self.folder / "tables").mkdir()
        for table in TABLES:
            count = 0
            with (self.folder / table_path(table.name)).open("wb") as file:
                for row in table.exported(self.project.pk):
                    file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
                    count += 1
            self._finish(table_path(table.name))
            self.counts[table.name] = count

    def _metrics(self) -> None:
        runs = Run.objects.filter(project=self.project)
        count = 0

        def counted(points: int) -> None:
            nonlocal count
            count += points

        with (self.folder / METRICS).open("wb") as file:
            for chunk in exports.export(runs, exports.ExportFormat.PARQUET, progress=counted):
                file.write(chunk)
        self._finish(METRICS)
        self.counts["points"] = count

    def _logs(self) -> None:
        import pyarrow as pa  # 40 MB of memory
        import pyarrow.parquet as pq

        schema = pa.schema(
            [
                pa.field("run_id", pa.string(), nullable=False),
                pa.field("seq", pa.int64(), nullable=False),
                pa.field("timestamp", pa.timestamp("us", tz="UTC"), nullable=False),
                pa.field("level", pa.string(), nullable=False),
                pa.field("source", pa.string(), nullable=False),
                pa.field("rank", pa.int32()),
                pa.field("message", pa.string(), nullable=False),
            ]
        )
        self.counts["lines"] = 0
        with pq.ParquetWriter(self.folder / LOGS, schema, compression="zstd") as writer:
            for lines in _log_lines(self.project):
                columns = zip(*lines, strict=True)
                arrays = [
                    pa.array(values, type=kind.type)
                    for values, kind in zip(columns, schema, strict=True)
                ]
                writer.write_table(pa.table(arrays, schema=schema), row_group_size=len(lines))
                self.counts["lines"] += len(lines)
        self._finish(LOGS)

    def _finish(self, path: str) -> None:
        self.files[path] = file_facts(self.folder / path)

    def _copy_all(self, stored: list[StoredBytes]) -> None:
        with byte_bar(_("copying"), sum(it.size_bytes for it in stored)) as bar:
            for it in stored:
                bar.update(self._copy(it))

    def _copy(self, it: StoredBytes) -> int:
        """The number of its bytes. A file that the storage lacks is reported, and left out."""
        target = within(self.folder, it.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with artifact_storage().open(it.key) as content, target.open("xb") as file:
                facts = _copied(content, file)
        except FileNotFoundError:
            self._lack(it, _("the storage has no such file"))
            return it.size_bytes
        if facts.sha256 != it.sha256 and not it.may_change:
            target.unlink()
            self._lack(it, _("its bytes are not those that were stored"))
            return it.size_bytes
        self.files[it.path] = facts
        return it.size_bytes

    def _lack(self, it: StoredBytes, reason: str) -> None:
        self.missing.append(it.artifact or it.path)
        self.problems.append(f"{truncate(it.path, MAX_REASON)}: {reason}")


def _copied(content: Any, file: Any) -> FileFacts:
    source = HashingFile(content)
    while chunk := source.read(CHUNK_BYTES):
        file.write(chunk)
    return FileFacts(source.byte_count, source.sha256)


def _stored_bytes(project: Project) -> Iterator[StoredBytes]:
    artifacts = Artifact.objects.filter(run__project=project).select_related("run")
    for artifact in artifacts.order_by("run", "id"):
        yield StoredBytes(
            path=artifact_path(artifact),
            key=artifact.storage_key,
            size_bytes=artifact.size_bytes,
            sha256=artifact.sha256,
            artifact=artifact.pk,
            may_change=not artifact.is_uploaded and not artifact.run.is_terminal,
        )
    bundles = CodeBundle.objects.filter(run_codes__run__project=project).distinct()
    for bundle in bundles.defer("files").order_by("pk"):
        yield StoredBytes(
            path=f"code/{bundle.pk}.zip",
            key=bundle.stored_as,
            size_bytes=bundle.size_bytes,
            sha256=bundle.archive_sha256,
        )


def _log_lines(project: Project) -> Iterator[list[tuple[Any, ...]]]:
    """Of one run after another, in order."""
    columns = ("run_id", "seq", "timestamp", "level", "source", "rank", "message")
    group: list[tuple[Any, ...]] = []
    for pk in Run.objects.filter(project=project).order_by("created_at", "id").values_list("pk"):
        lines = LogLine.objects.filter(run=pk[0]).order_by("seq").values_list(*columns)
        for line in lines.iterator(LINES_PER_GROUP):
            group.append(line)
            if len(group) == LINES_PER_GROUP:
                yield group
                group = []
    if group:
        yield group
