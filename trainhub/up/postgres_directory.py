"""Checks and prepares the directory of the embedded PostgreSQL."""

import os
import sys
from pathlib import Path
from typing import Final

from trainhub.up.postgres_account import (
    POSTGRES_MAJOR,
    open_way_to,
    service_account,
    user_name,
)
from trainhub.up.postgres_errors import EmbeddedPostgresError

DATA_DIRECTORY: Final = "data"
# sizeof(sockaddr_un.sun_path) minus the terminating zero byte.
SOCKET_PATH_LIMIT_BYTES: Final = 103 if sys.platform == "darwin" else 107


def check_system(directory: Path, socket_path: Path) -> None:
    if sys.platform == "win32":
        raise EmbeddedPostgresError(
            "The embedded PostgreSQL runs only on Linux and macOS: set DATABASE_URL to use a "
            f"PostgreSQL {POSTGRES_MAJOR} server."
        )
    length = len(os.fsencode(socket_path))
    if length > SOCKET_PATH_LIMIT_BYTES:
        raise EmbeddedPostgresError(
            f"The socket path {socket_path} has {length} bytes and this system allows "
            f"{SOCKET_PATH_LIMIT_BYTES}: set TRAINHUB_DATA_DIR to a shorter path."
        )
    if "," in str(directory):
        raise EmbeddedPostgresError(
            f"The path {directory} contains a comma, which PostgreSQL clients read as a separator "
            "between hosts: set TRAINHUB_DATA_DIR to a path without one."
        )


def prepare_directory(directory: Path) -> None:
    """Create the directory, owned by the server account and closed to all other users."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner, me = directory.stat().st_uid, os.geteuid()
    if me not in (owner, 0):
        raise EmbeddedPostgresError(
            f"{directory} belongs to {user_name(owner)}, and this process runs as "
            f"{user_name(me)}: run it as {user_name(owner)} or root, or set "
            "TRAINHUB_DATA_DIR to a directory of your own."
        )
    _check_directory_is_ours(directory)
    if me == 0:
        if owner == 0:
            os.chown(directory, *service_account())
        open_way_to(directory, *account_of(directory))
    directory.chmod(0o700)


def _check_directory_is_ours(directory: Path) -> None:
    """Refuse directories with other content, because start() changes owner and mode."""
    names = {path.name for path in directory.iterdir() if path.name != "lost+found"}
    foreign = {name for name in names if not name.startswith(".")}
    if foreign and not names & {DATA_DIRECTORY, "start.lock"}:
        raise EmbeddedPostgresError(
            f"{directory} contains other files ({min(foreign)}): set TRAINHUB_DATA_DIR to another "
            "directory."
        )


def account_of(directory: Path) -> tuple[int, int]:
    """The (uid, gid) that the server runs as."""
    status = directory.stat()
    return status.st_uid, status.st_gid


def has_cluster(data_directory: Path) -> bool:
    if not data_directory.exists() or not any(data_directory.iterdir()):
        return False
    version_path = data_directory / "PG_VERSION"
    if not version_path.exists():
        raise EmbeddedPostgresError(
            f"{data_directory} contains files but no PostgreSQL cluster: move it away, or "
            "set TRAINHUB_DATA_DIR to another directory."
        )
    version = version_path.read_text().strip()
    if version != str(POSTGRES_MAJOR):
        raise EmbeddedPostgresError(
            f"The database in {data_directory} was created by PostgreSQL {version} and this "
            f"TrainHub includes PostgreSQL {POSTGRES_MAJOR}: dump it with version {version} and "
            "load it into a new one, or set TRAINHUB_DATA_DIR to another directory."
        )
    return True
