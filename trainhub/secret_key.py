"""The secret key of an installation that was given none."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path


def kept_secret_key(path: Path) -> str:
    """The key in the file ``path``, made on the first call (mode 0600). Raises OSError.

    Of several processes that start at once all get the same key: the file appears whole, by a link
    that only one of them can make, and is never seen empty or replaced.
    """
    try:
        return path.read_text()
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes the file 0600.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(64))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process's key is the key
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    return path.read_text()
