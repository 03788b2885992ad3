"""Restores stored checkpoints to disk."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from artifacts import layouts, soundness
from artifacts.models import Artifact
from artifacts.storage import CHUNK_BYTES, HashingFile
from core.files import open_file
from core.messages import Message
from execution.executors.found_checkpoint import FOLDER_SUFFIX


class Damaged(Exception):
    """The stored checkpoint is missing or corrupt."""


def fetch(checkpoint: Artifact, folder: Path) -> Path:
    """Restore the checkpoint's file or folder into ``folder`` and return its path.

    Raises Damaged. After any error, partial files are removed.
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
    if checkpoint.file_name.endswith(FOLDER_SUFFIX):
        return unpack(checkpoint, folder / "unpacked")
    path = folder / checkpoint.file_name
    _copy(checkpoint, path)
    return path


def _check(path: Path) -> None:
    """Raises Damaged, with nothing left at ``path``, if it is not whole."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    names = {str(file.relative_to(path)) if file != path else path.name: file for file in files}
    openers = {name: partial(open_file, file) for name, file in names.items()}
    problem = soundness.problem_in(openers, folder=path.name if path.is_dir() else "")
    if problem is not None:
        _remove(path)
        raise Damaged(problem)


def _fetch_folder(checkpoint: Artifact, folder: Path) -> Path:
    """Restore the folder of a checkpoint that was logged file by file."""
    target = folder / PurePosixPath(checkpoint.folder).name
    with _whole_or_nothing(target):
        for part in checkpoint.parts():
            path = target / PurePosixPath(part.file).relative_to(checkpoint.folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            _copy(part, path)
    return target


def _copy(artifact: Artifact, target: Path) -> None:
    """Raises Damaged."""
    with _whole_or_nothing(target), _verified(artifact) as source, target.open("wb") as copy:
        for chunk in source.chunks():
            copy.write(chunk)


def unpack(artifact: Artifact, folder: Path) -> Path:
    """The one folder of an archive, unpacked while it is read: the archive itself takes no room.
    Raises Damaged."""
    with _whole_or_nothing(folder), _verified(artifact) as source:
        try:
            with tarfile.open(fileobj=source, mode="r|", bufsize=CHUNK_BYTES) as tar:
                tar.extractall(folder, filter="data")
        except tarfile.TarError as error:
            raise Damaged(Message("it cannot be unpacked: %(why)s", why=error)) from None
        unpacked = next(folder.iterdir(), None) if folder.exists() else None
        if unpacked is None:
            raise Damaged(Message("it is empty"))
    return unpacked


@contextmanager
def _verified(artifact: Artifact) -> Iterator[HashingFile]:
    """The artifact's bytes. Raises Damaged if they are not the recorded ones, after the block has
    used them: whatever it raised is a consequence."""
    failure: Exception | None = None
    try:
        with artifact.open() as file:
            source = HashingFile(file)
            try:
                yield source
            except Exception as error:
                if source.error is not None:  # of the storage: it says nothing of the bytes
                    raise source.error  # noqa: B904
                failure = error
            for _rest in source.chunks():
                pass  # what was not used, such as the padding of an archive, is hashed as well
    except FileNotFoundError:
        raise Damaged(Message("its bytes are missing")) from None
    if source.sha256 != artifact.sha256:
        raise Damaged(Message("its sha256 is not the recorded one")) from failure
    if failure is not None:
        raise failure


@contextmanager
def _whole_or_nothing(target: Path) -> Iterator[None]:
    """Remove ``target`` after any error."""
    try:
        yield
    except BaseException:
        _remove(target)
        raise


def _remove(target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
