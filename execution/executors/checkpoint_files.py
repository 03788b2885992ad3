"""Restores stored checkpoints to disk."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from functools import partial
from pathlib import Path, PurePosixPath

from artifacts import layouts, soundness
from artifacts.models import Artifact
from artifacts.tar_stream import open_file
from execution.executors.found_checkpoint import FOLDER_SUFFIX


class Damaged(Exception):
    """The stored checkpoint is missing or corrupt."""


def fetch(checkpoint: Artifact, folder: Path) -> Path:
    """Restore the checkpoint's file or folder into ``folder`` and return its path.

    Raises Damaged, after removing partial files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if checkpoint.damage:
        raise Damaged(checkpoint.damage)
    path = _fetch_folder(checkpoint, folder) if checkpoint.folder else _fetch(checkpoint, folder)
    if checkpoint.is_uploaded:  # maybe to an earlier version, which did not prove it
        _check(path)
    pointer = layouts.pointer_to(checkpoint.layout, PurePosixPath(path))
    if pointer is not None:
        name, content = pointer
        path.with_name(name).write_text(content)
    return path


def _fetch(checkpoint: Artifact, folder: Path) -> Path:
    path = folder / checkpoint.file_name
    _copy(checkpoint, path)
    return _unpack(path) if path.name.endswith(FOLDER_SUFFIX) else path


def _check(path: Path) -> None:
    """Raises Damaged, with nothing left at ``path``, if it is not whole."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    names = {str(file.relative_to(path)) if file != path else path.name: file for file in files}
    openers = {name: partial(open_file, file) for name, file in names.items()}
    problem = soundness.problem_in(openers, folder=path.name if path.is_dir() else "")
    if problem is None:
        return
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    raise Damaged(problem)


def _fetch_folder(checkpoint: Artifact, folder: Path) -> Path:
    """Restore the folder of a checkpoint that was logged file by file."""
    target = folder / PurePosixPath(checkpoint.folder).name
    try:
        for part in checkpoint.parts():
            path = target / PurePosixPath(part.file).relative_to(checkpoint.folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            _copy(part, path)
    except Damaged:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return target


def _copy(artifact: Artifact, target: Path) -> None:
    """Raises Damaged, with nothing left at ``target``."""
    digest = hashlib.sha256()
    try:
        with artifact.open() as source, target.open("wb") as copy:
            for chunk in source.chunks(1024 * 1024):
                digest.update(chunk)
                copy.write(chunk)
    except FileNotFoundError:
        target.unlink(missing_ok=True)
        raise Damaged("its bytes are missing") from None
    if digest.hexdigest() != artifact.sha256:
        target.unlink()
        raise Damaged("its sha256 does not match the recorded one")


def _unpack(packed: Path) -> Path:
    folder = packed.with_name("unpacked")
    try:
        with tarfile.open(packed) as tar:
            tar.extractall(folder, filter="data")
    except tarfile.TarError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise Damaged(f"it cannot be unpacked: {error}") from None
    finally:
        packed.unlink()
    unpacked = next(folder.iterdir(), None) if folder.exists() else None
    if unpacked is None:
        raise Damaged("it is empty")
    return unpacked
