"""Checks before TrainHub starts. Each failure is a short message for the user."""

import errno
import fcntl
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.utils.translation import gettext as _
from storages.backends.s3 import S3Storage

from artifacts.storage import artifact_storage
from core.files import private
from trainhub.front.nginx import end_leftovers
from trainhub.up.web_server import address_of, runtime_directory

OLDEST_POSTGRES: Final = 15
PORT_POLL_SECONDS: Final = 0.1
# botocore's defaults would delay the start by minutes if the S3 server does not answer.
S3_TIMEOUTS: Final = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})


class StartupError(Exception):
    """TrainHub cannot start. The message is for the user."""


def check_configuration() -> list[str]:
    """Run the system checks, including ours (trainhub/checks.py); return what they warn of.

    Raises StartupError.
    """
    messages = [
        message
        for message in [
            *checks.run_checks(),
            *checks.run_checks(tags=["worker"], include_deployment_checks=True),
        ]
        if not message.is_silenced()
    ]
    messages.sort(key=lambda message: message.id or "")  # run_checks iterates over a set
    problems = [str(message.msg) for message in messages if message.is_serious()]
    if problems:
        raise StartupError(" ".join(problems))
    return [str(message.msg) for message in messages]


def check_port(host: str, port: int, timeout_seconds: float = 0) -> None:
    """Check that the web server will be able to listen on the port.

    ``timeout_seconds``: how long to wait for a port in use, which our own earlier server may be
    about to release.
    """
    deadline = time.monotonic() + timeout_seconds
    while (problem := _why_not_listen(host, port)) is not None:
        if problem.errno != errno.EADDRINUSE:
            raise StartupError(
                _("The web server cannot listen on %(host)s port %(port)d: %(reason)s.")
                % {"host": host, "port": port, "reason": problem.strerror}
            )
        if time.monotonic() > deadline:
            raise _port_in_use(host, port)
        time.sleep(PORT_POLL_SECONDS)


def _port_in_use(host: str, port: int) -> StartupError:
    return StartupError(
        _(
            "Port %(port)d on %(host)s is in use by another program: stop it, or set "
            "TRAINHUB_PORT to another port."
        )
        % {"host": host, "port": port}
    )


@contextmanager
def only_web_server(timeout_seconds: float = 0) -> Iterator[None]:
    """Keep any other web server of this host from this one's port and files meanwhile, and end what
    a killed one has left. ``timeout_seconds``: as for ``check_port``.

    Raises StartupError, OSError.
    """
    directory = runtime_directory()
    deadline = time.monotonic() + timeout_seconds
    with open(directory / "lock", "w", opener=private) as lock:
        while not _locks(lock):
            if time.monotonic() > deadline:
                raise _port_in_use(settings.HOST, settings.PORT)
            time.sleep(PORT_POLL_SECONDS)
        end_leftovers(directory)
        yield


def _locks(file: IO[str]) -> bool:
    """By lockf, whose locks forks do not share: one that hangs would keep it."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _why_not_listen(host: str, port: int) -> OSError | None:
    try:
        if not 0 < port < 65_536:
            return OSError(errno.EINVAL, _("ports range from 1 to 65535"))
        family, address = address_of(host, port)
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            # Ignore connections of an earlier server in TIME_WAIT.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(1)
    except OSError as error:
        return error
    return None


def check_artifact_storage() -> None:
    """Check that the S3 bucket exists, if artifacts are stored in S3."""
    if not isinstance(artifact_storage(), S3Storage):
        return
    options = settings.STORAGES["artifacts"]["OPTIONS"]
    bucket = options["bucket_name"]
    try:
        storage = S3Storage(**options)
        storage.client_config = storage.client_config.merge(S3_TIMEOUTS)
        storage.connection.meta.client.head_bucket(Bucket=bucket)
    except ClientError as error:
        reasons = {404: _("it does not exist"), 403: _("the credentials have no access to it")}
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        raise _bucket_problem(bucket, reasons.get(status, str(error))) from error
    except (BotoCoreError, ValueError) as error:
        raise _bucket_problem(bucket, str(error)) from error


def _bucket_problem(bucket: str, reason: str) -> StartupError:
    return StartupError(
        _(
            "The S3 bucket %(bucket)s in TRAINHUB_ARTIFACTS_URL cannot be used: %(reason)s. Create "
            "the bucket, correct the URL, or unset it to keep artifacts in the data directory."
        )
        % {"bucket": bucket, "reason": reason.rstrip(".")}
    )


def check_database() -> None:
    """Check that the database answers and is recent enough."""
    try:
        connection.ensure_connection()
        version = connection.pg_version  # type: ignore[attr-defined]
    except (DatabaseError, ImproperlyConfigured) as error:
        raise StartupError(
            _(
                "The database in DATABASE_URL cannot be used: %(reason)s. Start it, correct "
                "DATABASE_URL, or unset it to use the embedded PostgreSQL."
            )
            % {"reason": " ".join(str(error).split()).rstrip(".?")}
        ) from error
    if version < OLDEST_POSTGRES * 10_000:
        raise StartupError(
            _(
                "The database in DATABASE_URL is PostgreSQL %(version)d; TrainHub needs "
                "%(oldest)d or newer."
            )
            % {"version": version // 10_000, "oldest": OLDEST_POSTGRES}
        )
