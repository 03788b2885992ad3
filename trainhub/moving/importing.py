"""Brings a project in that another TrainHub, or this one, has exported: see layout.py.

Everything is verified first; then the bytes are stored, and at last all rows are written in one
transaction. An import that fails leaves nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import DEFAULT_DB_ALIAS, models, transaction
from django.utils.translation import gettext as _

from accounts.models import Team
from accounts.roles import Role
from artifacts.blobs import put, storage_key
from artifacts.kinds import ArtifactType
from artifacts.unreferenced_blobs import UnreferencedBlob, UploadExpired
from code_bundles import storing
from core.messages import Message
from core.sessions import lift_limits
from projects.models import Project
from runs.models import Run
from trainhub.backups.errors import byte_bar
from trainhub.moving import curves_and_logs
from trainhub.moving.adapting import Adapting
from trainhub.moving.export_reader import Export, as_exported
from trainhub.moving.identities import IDENTIFIED, identities
from trainhub.moving.layout import Manifest, table_path, within
from trainhub.moving.tables import ROWS_AT_ONCE, TABLES, Row, Table

KEYS_AT_ONCE: Final = 1000
TABLES_FOLDER: Final = "tables"
RENEWED_EVERY_SECONDS = 3600.0  # far less than UnreferencedBlob.ABANDONED_AFTER


@dataclass(frozen=True)
class Imported:
    project: Project
    manifest: Manifest
    notes: list[str]


def import_project(
    folder: Path,
    *,
    name: str = "",
    owner: User | None = None,
    team: Team | None = None,
    keep_releases: bool = False,
) -> Imported:
    """``keep_releases``: else what was released there is a candidate here, as nobody here has
    approved it.

    Raises MovingError, DomainError, errors of the storage: then nothing has come in.
    """
    export = Export(folder, Manifest.read(folder))
    lift_limits()
    total = sum(facts.bytes for facts in export.manifest.files.values())
    with byte_bar(_("verifying"), total) as bar:
        export.manifest.verify(folder, bar.update)
    export.check()
    found = export.tables & IDENTIFIED.keys()
    with as_exported(TABLES_FOLDER):
        ids = identities({name: [row["id"] for row in export.rows(name)] for name in found})
    adapting = Adapting(export, ids, name, owner, team, keep_releases)
    with as_exported(TABLES_FOLDER):  # keys are checked at the end of a transaction
        project = _Import(export, adapting).bring_in()
    if adapting.unreleased:
        text = _(
            "%(count)d released checkpoints are candidates here, as nobody here has approved them. "
            "--keep-releases would keep them released."
        )
        adapting.notes.append(text % {"count": adapting.unreleased})
    return Imported(project, export.manifest, adapting.notes)


@dataclass
class _Import:
    """``runs``: as they are to be in the end."""

    export: Export
    adapting: Adapting
    runs: list[Run] = field(default_factory=list)

    @property
    def _project_id(self) -> str:
        project_id: str = self.adapting.ids.of(self.export.manifest.project["id"])
        return project_id

    def bring_in(self) -> Project:
        self._store_code()
        keys: list[str] = []
        try:
            self._store(keys)
            with transaction.atomic():
                for table in TABLES:
                    if table.name in self.export.tables:
                        self._table(table)
                self._curves_and_logs()
                _claim(keys)
                project = Project.objects.get(pk=self._project_id)
                if self.adapting.owner is not None:
                    project.roles.create(user=self.adapting.owner, role=Role.OWNER)
        except BaseException:
            UnreferencedBlob.objects.drop(keys)
            raise
        return project

    # --- bytes -----------------------------------------------------------------------------------

    def _store(self, keys: list[str]) -> None:
        """Store the bytes of all artifacts, each tracked before by its key, which ``keys`` gets."""
        with as_exported(table_path("artifacts")):
            total = sum(row["size_bytes"] for row in self.export.artifacts())
            renewed = time.monotonic()
            with byte_bar(_("storing"), total) as bar:
                for row in self.export.artifacts():
                    keys.append(self._store_artifact(row))
                    bar.update(row["size_bytes"])
                    if time.monotonic() - renewed > RENEWED_EVERY_SECONDS:
                        UnreferencedBlob.objects.renew(keys)
                        renewed = time.monotonic()
        UnreferencedBlob.objects.renew(keys)

    def _store_artifact(self, row: Row) -> str:
        path, facts = self.export.bytes_of(row)
        run = Run(id=self.adapting.ids.of(row["run_id"]), project_id=self._project_id)
        type, file = ArtifactType(row["type"]), self.adapting.file(row)
        key = storage_key(run, type, file, row["stored_as"])
        UnreferencedBlob.objects.track(key)
        with path.open("rb") as content:
            put(
                run,
                content,
                type=type,
                file=file,
                stored_as=row["stored_as"],
                expected_bytes=facts.bytes,
            )
        return key

    def _store_code(self) -> None:
        """Bundles are known by what is in them, so that there may be some here. One that no run
        gets is deleted some days later, as any that was uploaded."""
        for path in self.export.manifest.files:
            if path.startswith("code/"):
                with within(self.export.folder, path).open("rb") as content:
                    storing.receive(content, by=None, announced=Path(path).stem)

    # --- rows ------------------------------------------------------------------------------------

    def _table(self, table: Table) -> None:
        for batch in self._batches(table):
            if table.name == "runs":
                runs = [Run(**values) for values in batch]
                self.runs += runs
                _insert(Run, [_without_progress(run) for run in runs])
            elif table.name == "model_versions":
                self._versions(table, batch)
            else:
                _insert(table.model, [table.model(**values) for values in batch])

    def _batches(self, table: Table) -> Iterator[list[dict[str, Any]]]:
        batch = []
        for row in self.export.rows(table.name):
            with as_exported(table_path(table.name)):
                values = self.adapting.values(table, row)
            if values is not None:
                batch.append(values)
            if len(batch) == ROWS_AT_ONCE:
                yield batch
                batch = []
        if batch:
            yield batch

    def _versions(self, table: Table, batch: list[dict[str, Any]]) -> None:
        """One by one, to learn the key that each gets, by which aliases refer to it."""
        for values in batch:
            there = values.pop("id")
            version = table.model(**values)
            version.save_base(raw=True, force_insert=True)
            self.adapting.versions[there] = version.pk

    def _curves_and_logs(self) -> None:
        there = {here: old for old, here in self.adapting.ids.mapped.items()}
        runs = {there[run.pk]: run.pk for run in self.runs}
        curves_and_logs.record(self.export.folder, runs)
        # What the points and lines have set, such as when the run last reported, is what it was.
        for run in self.runs:
            run.save_base(raw=True, force_update=True)


def _insert(model: type[models.Model], rows: list[Any]) -> None:
    """The rows as they are: Django's bulk_create would set the times of fields with auto_now."""
    fields = [
        column
        for column in model._meta.local_concrete_fields
        if not isinstance(column, models.AutoField | models.CompositePrimaryKey)
    ]
    manager: Any = model._base_manager
    if rows:
        manager._insert(rows, fields=fields, using=DEFAULT_DB_ALIAS, raw=True)


def _without_progress(run: Run) -> Run:
    """As it is inserted, before its artifacts, points and lines."""
    columns = Run._meta.local_concrete_fields
    values = {column.attname: getattr(run, column.attname) for column in columns}
    return Run(**{**values, "metrics": {}, "log_count": 0, "resumed_from_id": None})


def _claim(keys: list[str]) -> None:
    """Raises UploadExpired."""
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = keys[start : start + KEYS_AT_ONCE]
        count, _models = UnreferencedBlob.objects.filter(key__in=some).delete()
        if count != len(some):
            raise UploadExpired(Message("The upload took too long: its data has been deleted."))
