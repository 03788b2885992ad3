"""What a request for a run says, and its code on the way to the server."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from trainhub_client import git_state, packing
from trainhub_client.api import Api
from trainhub_client.errors import UsageError
from trainhub_client.output import err, note, size
from trainhub_client.packing import CHUNK_BYTES, Packed

MAX_SECRETS_NAMED = 5


def hyperparameters(given: list[str]) -> dict[str, Any]:
    """Of ``name=value``: a value is JSON if it can be, else text. Raises UsageError."""
    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(f"-p {text}: write it as name=value.")
        if name in values:
            raise UsageError(f"-p {name} is given twice.")
        values[name] = _value(value)
    return values


def _value(text: str) -> Any:
    def refuse(_name: str) -> Any:
        raise ValueError

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return text


def upload_folder(api: Api, project: str, folder: Path) -> dict[str, Any]:
    """Pack ``folder`` and send it, unless the server has it; what the request for the run says of
    it. Raises CannotPack."""
    files = packing.files_of(folder)
    _warn_of_secrets(packing.likely_secrets(files))
    with tempfile.TemporaryFile() as archive, progress() as bars:
        total = sum(file.size for file in files)
        bar = bars.add_task("packing", total=total)
        packed = packing.pack(folder, files, archive, lambda count: bars.advance(bar, count))
        if not api.exists(f"/projects/{project}/code/{packed.sha256}"):
            bar = bars.add_task("uploading", total=packed.archive_bytes)
            _send(api, project, archive, packed, lambda done: bars.update(bar, completed=done))
            sent = f"{size(packed.archive_bytes)} sent"
        else:
            sent = "already on the server"
    note(f"Code {packed.sha256[:12]}: {len(files)} files, {sent}.")
    return {"sha256": packed.sha256, **git_state.describe(folder)}


def _send(
    api: Api, project: str, archive: IO[bytes], packed: Packed, tell: Callable[[int], None]
) -> None:
    def body() -> Iterator[bytes]:
        archive.seek(0)
        while chunk := archive.read(CHUNK_BYTES):
            yield chunk
            tell(archive.tell())

    headers = {
        "Content-Type": "application/zip",
        "Content-Length": str(packed.archive_bytes),
        "X-Checksum-Sha256": packed.archive_sha256,
    }
    url = f"/projects/{project}/code"
    api.upload(url, body, headers=headers, params={"sha256": packed.sha256})


def _warn_of_secrets(paths: list[str]) -> None:
    if paths:
        named = ", ".join(paths[:MAX_SECRETS_NAMED])
        more = (
            f" and {len(paths) - MAX_SECRETS_NAMED} more" if len(paths) > MAX_SECRETS_NAMED else ""
        )
        note(
            f"Warning: {named}{more} may hold secrets, and everyone who sees the run can read its "
            "code. Leave out what must not be seen: .trainhubignore",
            "yellow",
        )


def progress() -> Progress:
    """Bars, on a terminal alone."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=err(),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
