"""What the commands that move projects have in common: sentences instead of tracebacks."""

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

from core.exceptions import DomainError
from core.terminal import terminal_language, unanswered
from core.text import storable
from trainhub.backups.errors import BackupError
from trainhub.moving.layout import MovingError

INTERRUPTED: Final = 130  # the shell's exit code after Ctrl-C


@contextmanager
def moving() -> Iterator[None]:
    """In the terminal's language. Errors become CommandError."""
    with translation.override(terminal_language()):
        try:
            yield
        except DomainError as error:
            raise CommandError(storable(str(error.message))) from error
        except OperationalError as error:
            raise CommandError(unanswered(error)) from error
        except (MovingError, BackupError, OSError, BotoCoreError, Boto3Error, ClientError) as error:
            raise CommandError(storable(str(error))) from error
        except KeyboardInterrupt:
            raise CommandError(_("Interrupted."), returncode=INTERRUPTED) from None
