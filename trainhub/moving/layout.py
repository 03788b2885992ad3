"""The folder that a project leaves in. What is in it: docs/moving.md.

manifest.json               what there is, with the sha256 of every file; written last
tables/<name>.jsonl         rows, one a line
metrics.parquet             points
logs.parquet                log lines
artifacts/<run>/<path>      files of runs
code/<sha256>.zip           code bundles
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec
from django.utils.translation import gettext as _

from artifacts.models import Artifact

# Raised by a change that an earlier version would misread. New columns and tables do not: what a
# version does not know, it leaves out.
LAYOUT: Final = 1
MANIFEST: Final = "manifest.json"
METRICS: Final = "metrics.parquet"
LOGS: Final = "logs.parquet"
CHUNK_BYTES: Final = 1024 * 1024


class MovingError(Exception):
    """What stops an export or an import: a sentence for the user."""


@dataclass(frozen=True)
class FileFacts:
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """``files``: all but the manifest itself, by path; ``counts``: rows by table, points, lines;
    ``missing``: ids of artifacts whose bytes the storage did not have, or had otherwise."""

    project: dict[str, str]
    version: str
    exported_at: str
    counts: dict[str, int]
    files: dict[str, FileFacts]
    missing: list[str] = field(default_factory=list)
    layout: int = LAYOUT

    def write(self, folder: Path) -> None:
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Raises MovingError."""
        try:
            content = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=dict[str, Any])
        except (FileNotFoundError, NotADirectoryError):
            text = _("%(folder)s has no manifest.json: it is no complete export.")
            raise MovingError(text % {"folder": folder}) from None
        except msgspec.DecodeError:
            raise MovingError(damaged(MANIFEST)) from None
        layout = content.get("layout")
        if isinstance(layout, int) and layout > LAYOUT:
            raise MovingError(
                _(
                    "The export has layout %(layout)d, of TrainHub %(version)s; this version reads "
                    "layouts up to %(known)d: upgrade it first."
                )
                % {"layout": layout, "version": content.get("version"), "known": LAYOUT}
            )
        try:
            return msgspec.convert(content, cls)
        except msgspec.ValidationError:
            raise MovingError(damaged(MANIFEST)) from None

    def verify(self, folder: Path, progress: Callable[[int], object]) -> None:
        """Read every file. ``progress`` is called with bytes. Raises MovingError."""
        for path, facts in self.files.items():
            actual = file_facts(within(folder, path), progress)
            if actual != facts:
                raise MovingError(damaged(path))


def file_facts(file: Path, progress: Callable[[int], object] = lambda _bytes: None) -> FileFacts:
    """Raises MovingError."""
    digest, count = hashlib.sha256(), 0
    try:
        if not file.is_file():  # a pipe has no end
            raise FileNotFoundError
        with file.open("rb") as content:
            while chunk := content.read(CHUNK_BYTES):
                digest.update(chunk)
                count += len(chunk)
                progress(len(chunk))
    except FileNotFoundError:
        raise MovingError(_("The export lacks %(file)s.") % {"file": file.name}) from None
    return FileFacts(count, digest.hexdigest())


def within(folder: Path, path: str) -> Path:
    """The file at a relative path of the export. Raises MovingError for one outside of it, also by
    a symbolic link."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise MovingError(damaged(MANIFEST))
    file = folder.joinpath(*parts)
    if not file.resolve().is_relative_to(folder.resolve()):
        raise MovingError(damaged(path))
    return file


def table_path(name: str) -> str:
    return f"tables/{name}.jsonl"


def artifact_path(artifact: Artifact) -> str:
    """As in the contract's URI: uploaded files are below ``files``."""
    file = f"files/{artifact.file}" if artifact.is_uploaded else artifact.tree_path
    return f"artifacts/{artifact.run_id}/{file}"


def damaged(path: str) -> str:
    return _("%(file)s is damaged: it is not as it was exported.") % {"file": path}
