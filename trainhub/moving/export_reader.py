"""An export as it is read: its rows, and the bytes of its artifacts. Nothing in it is trusted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import orjson
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError

from artifacts.kinds import ArtifactType
from artifacts.models import Artifact
from artifacts.paths import checked_path
from core.ids import ID_PATTERN
from runs.models import Run
from trainhub.moving.layout import (
    LOGS,
    MANIFEST,
    METRICS,
    FileFacts,
    Manifest,
    MovingError,
    artifact_path,
    damaged,
    table_path,
    within,
)
from trainhub.moving.tables import TABLES, Row

ID: Final = re.compile(ID_PATTERN)
STORED_AS: Final = re.compile(r"(?:\.files/[0-9a-f]{32})?")
# What a row raises that lacks a column, or whose value the column, or another row, does not allow.
UNFIT: Final = (
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
    ValidationError,
    DataError,
    IntegrityError,
)


@dataclass(frozen=True)
class Export:
    folder: Path
    manifest: Manifest

    def check(self) -> None:
        """That it is of one project, the manifest's. Raises MovingError."""
        needed = {METRICS, LOGS, table_path("project"), table_path("runs")}
        if not needed <= self.manifest.files.keys():
            raise MovingError(damaged(MANIFEST))
        with as_exported(table_path("project")):
            [project] = self.rows("project")
            if project["id"] != self.manifest.project["id"]:
                raise ValueError

    @cached_property
    def tables(self) -> set[str]:
        """The names of the tables that it has."""
        return {table.name for table in TABLES if table_path(table.name) in self.manifest.files}

    def rows(self, name: str) -> Iterator[Row]:
        """Raises MovingError."""
        path = table_path(name)
        with within(self.folder, path).open("rb") as lines:
            for line in lines:
                with as_exported(path):
                    row = orjson.loads(line)
                    _check_ids(path, row)
                yield row

    def artifacts(self) -> Iterator[Row]:
        """Those whose bytes it has. Raises MovingError."""
        missing = set(self.manifest.missing)
        for row in self.rows("artifacts"):
            with as_exported(table_path("artifacts")):
                is_missing = row["id"] in missing
            if not is_missing:
                yield row

    def bytes_of(self, row: Row) -> tuple[Path, FileFacts]:
        """The file of an artifact, and what is known of it: a file of a run that was going on may
        be newer than its row. Raises MovingError, InvalidPath."""
        checked_path(row["file"])
        if row["type"] not in ArtifactType.values or not STORED_AS.fullmatch(row["stored_as"]):
            raise MovingError(damaged(table_path("artifacts")))
        path = artifact_path(
            Artifact(
                run=Run(id=row["run_id"]),
                type=row["type"],
                file=row["file"],
                stored_as=row["stored_as"],
            )
        )
        facts = self.manifest.files.get(path)
        if facts is None:
            raise MovingError(damaged(table_path("artifacts")))
        return within(self.folder, path), facts


@contextmanager
def as_exported(path: str) -> Iterator[None]:
    """What is wrong with the content of a file is damage. Raises MovingError."""
    try:
        yield
    except UNFIT as error:
        raise MovingError(damaged(path)) from error


def _check_ids(path: str, row: dict[str, Any]) -> None:
    """They become parts of keys in the storage and of addresses."""
    for name in ("id", "run_id", "project_id"):
        value = row.get(name)
        if isinstance(value, str) and not ID.fullmatch(value):
            raise MovingError(damaged(path))
