"""What the commands backup and restore have in common: sentences instead of tracebacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from boto3.exceptions import Boto3Error  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError
from django.core.management.base import CommandError
from django.db import OperationalError
from django.utils import translation
from django.utils.translation import gettext as _

from core.terminal import terminal_language, unanswered
from core.text import storable
from trainhub.backups.errors import BackupError
from trainhub.backups.place import Backup
from trainhub.backups.postgres_tools import running_database

INTERRUPTED: Final = 130  # the shell's exit code after Ctrl-C


@contextmanager
def operating(*, create: bool) -> Iterator[None]:
    """With the database, in the terminal's language. Errors become CommandError."""
    with translation.override(terminal_language()):
        try:
            with running_database(create=create):
                yield
        except (BackupError, OSError, BotoCoreError, Boto3Error, ClientError) as error:
            raise CommandError(storable(str(error))) from error
        except OperationalError as error:
            raise CommandError(unanswered(error)) from error
        except KeyboardInterrupt:
            raise CommandError(_("Interrupted."), returncode=INTERRUPTED) from None


def described(backup: Backup) -> str:
    manifest = backup.manifest
    return _("%(rows)d rows, %(files)d files of %(megabytes).1f MB") % {
        "rows": sum(rows for rows, _checksum in manifest.tables.values()),
        "files": manifest.file_count,
        "megabytes": manifest.file_bytes / 1e6,
    }
