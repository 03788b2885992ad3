"""Copies files from an MLflow server to a run's artifacts: those that it does not have yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Final
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from artifacts import uploads
from core.exceptions import DomainError
from runs.models import Run
from tracking.imports import messages
from tracking.imports.connection import Answer, ServerRefused
from tracking.imports.context import Context

PROXIED: Final = "mlflow-artifacts"

Opened = AbstractContextManager[Answer]


def proxy_path(uri: str) -> str:
    """The path at the artifact proxy of a URI ``mlflow-artifacts:/…``; empty for any other."""
    parts = urlsplit(uri)
    return parts.path.strip("/") if parts.scheme == PROXIED else ""


def bring_in_files(context: Context, run: Run, source: messages.Run) -> int:
    """Copy the files of a run that are missing here or have another size; return how many.

    What cannot be read there, or stored here, is reported, and the others are copied.
    """
    server, run_id = context.server, source.info.run_id
    root = proxy_path(source.info.artifact_uri)

    def opened(path: str) -> Opened:
        return server.proxied(f"{root}/{path}") if root else server.unproxied(run_id, path)

    try:
        return copy_files(context, run, server.files_of_run(run_id), opened)
    except ServerRefused as error:
        text = _("%(run)s: its files, at %(uri)s, cannot be read: %(why)s")
        values = {"run": run_id, "uri": source.info.artifact_uri, "why": error}
        context.complain(text % values)
        return 0


def copy_files(
    context: Context,
    run: Run,
    files: Iterable[messages.File],
    opened: Callable[[str], Opened],
    *,
    folder: str = "",
) -> int:
    """``folder``: of the run, where they belong. Raises ServerRefused if they cannot be listed."""
    known = dict(run.artifacts.uploaded().below(folder).values_list("file", "size_bytes"))
    copied = 0
    for file in files:
        target = f"{folder}/{file.path}" if folder else file.path
        if known.get(target) == file.file_size:
            continue
        try:
            _copy(context, run, file, opened, target)
        except (ServerRefused, DomainError) as error:
            reason = error.message if isinstance(error, DomainError) else error
            context.complain(f"{run.pk}: {target}: {reason}")
            continue
        copied += 1
        context.count("files")
        context.count("bytes", file.file_size)
    return copied


def _copy(
    context: Context, run: Run, file: messages.File, opened: Callable[[str], Opened], target: str
) -> None:
    def once() -> None:
        with opened(file.path) as content:
            uploads.store(
                run, target, content, expected_bytes=file.file_size or None, is_report=False
            )

    context.server.persistently(once)
