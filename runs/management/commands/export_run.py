"""manage.py export_run: metrics into a file, or through a pipe."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import translation
from django.utils.translation import gettext as _
from tqdm import tqdm

from projects.models import Project
from runs.exports import ExportFormat, count, export
from runs.models import Run, RunQuerySet
from trainhub.terminal import terminal_language

STDOUT = "-"
INTERRUPTED = 130  # as a shell's own for Ctrl-C


class Command(BaseCommand):
    help = "Write the metrics of a run, or of all runs of a project, as Parquet or CSV."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", help="of a run or of a project")
        parser.add_argument(
            "--format",
            choices=ExportFormat.values,
            help="by default what the name of the output ends in, or else parquet",
        )
        parser.add_argument(
            "--output", help="a file, or - for standard output (default: ID.FORMAT here)"
        )

    def handle(self, *, id: str, format: str | None, output: str | None, **options: Any) -> None:
        with translation.override(terminal_language()):
            self.export(id, format, output)

    def export(self, id: str, format: str | None, output: str | None) -> None:
        """Raises CommandError."""
        to = ExportFormat(format) if format else _format_of(output)
        runs = _runs(id)
        try:
            # A bar on standard error, where somebody sees it.
            with tqdm(
                total=count(runs), unit=f" {_('points')}", unit_scale=True, disable=None
            ) as bar:
                chunks = export(runs, to, progress=bar.update)
                if output == STDOUT:
                    _write(chunks, sys.stdout.buffer)
                else:
                    _write_file(chunks, Path(output or f"{id}.{to}"))
        except BrokenPipeError:
            # Whoever read has enough. What is left in the buffer must not be tried again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            raise CommandError(
                _("%(file)s cannot be written: %(why)s.")
                % {"file": output or f"{id}.{to}", "why": error.strerror or error}
            ) from None
        except KeyboardInterrupt:
            raise CommandError(_("Interrupted."), returncode=INTERRUPTED) from None


def _format_of(output: str | None) -> ExportFormat:
    suffix = Path(output or "").suffix.removeprefix(".").lower()
    return ExportFormat(suffix) if suffix in ExportFormat.values else ExportFormat.PARQUET


def _runs(id: str) -> RunQuerySet:
    """The run of that id, even out of the trash, or the project's. Raises CommandError."""
    run = Run.objects.filter(pk=id)
    if run.exists():
        return run
    if Project.objects.filter(pk=id).exists():
        return Run.objects.kept().filter(project=id)
    raise CommandError(_("There is no run and no project %(id)s.") % {"id": id})


def _write_file(chunks: Iterable[bytes], path: Path) -> None:
    """``path`` is there whole or as it was: written beside it, then renamed."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            _write(chunks, file)
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _write(chunks: Iterable[bytes], file: IO[bytes]) -> None:
    for chunk in chunks:
        file.write(chunk)
    file.flush()


def _umask() -> int:
    """What new files may not be; it cannot be read without being set."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
