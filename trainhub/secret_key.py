"""A generated secret key, for installations that do not set one."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path


def kept_secret_key(path: Path) -> str:
    """The key in the file ``path``, created on the first call (mode 0600). Raises OSError.

    Processes that start at the same time get the same key: the file is created by a hard link,
    which succeeds for only one of them, so it is never empty and never replaced.
    """
    try:
        return path.read_text()
    except FileNotFoundError:
        pass
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp creates the file with mode 0600.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(64))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first: use its key
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    return path.read_text()
