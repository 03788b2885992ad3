"""Puts a run's code where its training finds it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from code_bundles import archives, repositories, storing
from code_bundles.manifest import BadBundle
from core.messages import Message
from runs.executors import CannotStart
from runs.models import CodeBundle, Run, RunCode

FOLDER: Final = "code"  # of an attempt


def place_code(run: Run, folder: Path) -> Path | None:
    """Unpack the run's code into the folder FOLDER of ``folder``, which nobody else can enter yet,
    and return that; None if it has no code. A revision of a repository is fetched first if that has
    not been done: minutes.

    Raises CannotStart if a retry would fail, too; else GitFailed, OSError, StorageError.
    """
    code = RunCode.of(run)
    if code is None:
        return None
    try:
        bundle = _fetched(code)
        target = folder / FOLDER
        with storing.opened(bundle) as archive:
            archives.unpack(archive, target, bundle.sha256)
    except FileNotFoundError:
        raise CannotStart(Message("The bytes of the run's code are missing.")) from None
    except (BadBundle, storing.TooLarge, repositories.NoSuchRevision) as problem:
        raise CannotStart(
            Message("The run's code cannot be used: %(problem)s", problem=problem)
        ) from None
    return target


def _fetched(code: RunCode) -> CodeBundle:
    """The bundle, which a run of a revision has from its first start on: what a branch names later
    is of no concern to its restarts."""
    if code.bundle_id is None:
        origin = code.origin
        bundle, commit = repositories.bundle_of(
            origin["git_url"], origin["revision"], origin.get("commit", "")
        )
        code.bundle, code.origin = bundle, {**origin, "commit": commit}
        code.save(update_fields=["bundle", "origin"])
    return CodeBundle.objects.defer("files").get(pk=code.bundle_id)
