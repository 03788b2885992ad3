"""manage.py export_run: export metrics to a file or standard output."""

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

from core.terminal import terminal_language
from metrics.exports import ExportFormat, count, export
from projects.models import Project
from runs.models import Run, RunQuerySet

STDOUT = "-"
INTERRUPTED = 130  # the shell's exit code after Ctrl-C


class Command(BaseCommand):
    help = "Write the metrics of a run, or of all runs of a project, as Parquet or CSV."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", help="ID of a run or project")
        parser.add_argument(
            "--format",
            choices=ExportFormat.values,
            help="default: the extension of the output file, otherwise parquet",
        )
        parser.add_argument(
            "--output", help="file, or - for standard output (default: ID.FORMAT in this directory)"
        )

    def handle(self, *, id: str, format: str | None, output: str | None, **options: Any) -> None:
        with translation.override(terminal_language()):
            self.export(id, format, output)

    def export(self, id: str, format: str | None, output: str | None) -> None:
        """Raises CommandError."""
        export_format = ExportFormat(format) if format else _format_of(output)
        runs = _runs(id)
        try:
            # On standard error, only if it is a terminal.
            with tqdm(
                total=count(runs), unit=f" {_('points')}", unit_scale=True, disable=None
            ) as bar:
                chunks = export(runs, export_format, progress=bar.update)
                if output == STDOUT:
                    _write(chunks, sys.stdout.buffer)
                else:
                    _write_file(chunks, Path(output or f"{id}.{export_format}"))
        except BrokenPipeError:
            # The reader closed the pipe. Keep Python from flushing the buffer again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            raise CommandError(
                _("Cannot write %(file)s: %(why)s.")
                % {"file": output or f"{id}.{export_format}", "why": error.strerror or error}
            ) from None
        except KeyboardInterrupt:
            raise CommandError(_("Interrupted."), returncode=INTERRUPTED) from None


def _format_of(output: str | None) -> ExportFormat:
    suffix = Path(output or "").suffix.removeprefix(".").lower()
    return ExportFormat(suffix) if suffix in ExportFormat.values else ExportFormat.PARQUET


def _runs(id: str) -> RunQuerySet:
    """The run with this ID, even if in the trash, or the project's runs. Raises CommandError."""
    run = Run.objects.filter(pk=id)
    if run.exists():
        return run
    if Project.objects.filter(pk=id).exists():
        return Run.objects.kept().filter(project=id)
    raise CommandError(_("No run or project with ID %(id)s.") % {"id": id})


def _write_file(chunks: Iterable[bytes], path: Path) -> None:
    """Write ``path`` atomically: write a temporary file next to it, then rename."""
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
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
