"""Bundles of revisions of Git repositories.

The files are read from Git's objects, without a checkout: no hook, filter or attribute of the
repository has a say. Submodules are left out, and of files in Git LFS the pointers are taken.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Final, NamedTuple

from code_bundles import archives, storing
from code_bundles.limits import MAX_FILES, MAX_UNPACKED_BYTES
from code_bundles.manifest import EXECUTABLE, FILE, LINK, BadBundle, check_sizes, too_many
from core import git
from core.messages import Message
from runs.models import CodeBundle

FETCH_SECONDS: Final = 300.0
READ_SECONDS: Final = 60.0
MAX_FETCHED_BYTES: Final = 2 * 1024**3  # of a pack
ALL_REFS: Final = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
KINDS: Final = {"100644": FILE, "100664": FILE, "100755": EXECUTABLE, "120000": LINK}


class NoSuchRevision(git.GitFailed):
    """The repository answers, but has no such revision."""


class Blob(NamedTuple):
    path: str
    kind: str
    object_id: str
    size: int


def bundle_of(url: str, revision: str, commit: str = "") -> tuple[CodeBundle, str]:
    """The bundle of a revision, stored if it was not, and the revision's commit. Minutes for a
    large repository. Raises GitFailed, NoSuchRevision, BadBundle, TooLarge, StorageError."""
    commit = commit or git.resolve(url, revision) or ""
    if not commit:
        raise NoSuchRevision(
            Message(
                "There is no branch or tag %(revision)s in %(url)s.", revision=revision, url=url
            )
        )
    with tempfile.TemporaryDirectory(prefix="trainhub-git-") as name:
        directory = Path(name)
        _fetch(directory, url, commit)
        with tempfile.TemporaryFile() as file, _reading(directory) as read:
            blobs = _blobs(directory, commit)
            entries = archives.pack(
                ((blob.path, blob.kind, partial(read, blob)) for blob in blobs), file
            )
            bundle, _is_new = storing.keep(file, entries, by=None)
    return bundle, commit


def _fetch(directory: Path, url: str, commit: str) -> None:
    git.run(["init", "--quiet", "--bare", "--template="], seconds=READ_SECONDS, directory=directory)
    options = ["--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"]
    fetch = partial(
        git.run, seconds=FETCH_SECONDS, directory=directory, max_file_bytes=MAX_FETCHED_BYTES
    )
    try:
        fetch(["fetch", *options, "--depth=1", "--", url, commit])
    except git.GitFailed:
        # Some servers give neither a commit by its id nor a part of the history.
        fetch(["fetch", *options, "--", url, *ALL_REFS])
    kind = git.run(["cat-file", "-t", commit], seconds=READ_SECONDS, directory=directory)
    if kind.strip() != b"commit":
        raise NoSuchRevision(Message("%(id)s is no commit of %(url)s.", id=commit, url=url))


def _blobs(directory: Path, commit: str) -> list[Blob]:
    """The files of a commit. Raises BadBundle."""
    listing = git.run(
        ["ls-tree", "-r", "-z", "-l", "--full-tree", commit],
        seconds=READ_SECONDS,
        directory=directory,
    )
    blobs = []
    for line in listing.split(b"\0"):
        head, _tab, name = line.partition(b"\t")
        mode, _type, object_id, size = (head.decode().split() + [""] * 4)[:4]
        if mode in KINDS:  # neither the end of the list nor a submodule
            try:
                path = name.decode()
            except UnicodeDecodeError:
                raise BadBundle(
                    Message("The name of a file is not in UTF-8: %(path)s.", path=repr(name))
                ) from None
            blobs.append(Blob(path, KINDS[mode], object_id, int(size)))
    if len(blobs) > MAX_FILES:
        raise too_many(len(blobs))
    check_sizes(blob.size for blob in blobs)
    return blobs


@contextmanager
def _reading(directory: Path) -> Iterator[Callable[[Blob], bytes]]:
    """What reads a blob. git-cat-file(1), "BATCH OUTPUT"."""
    with subprocess.Popen(
        [*git.COMMAND, "cat-file", "--batch"],
        cwd=directory,
        env=git.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield partial(_read, process.stdin, process.stdout)
        finally:
            process.kill()


def _read(requests: IO[bytes], answers: IO[bytes], blob: Blob) -> bytes:
    requests.write(f"{blob.object_id}\n".encode())
    requests.flush()
    head = answers.readline().split()
    if len(head) != 3 or int(head[2]) > MAX_UNPACKED_BYTES:
        raise git.GitFailed(Message("git has no file %(path)s.", path=blob.path))
    content = answers.read(int(head[2]))
    answers.read(1)
    return content
