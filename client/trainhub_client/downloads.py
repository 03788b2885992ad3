"""Downloads that go on where they were cut off, and are verified before they have their name."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from trainhub_client.api import DIRECT, Api
from trainhub_client.errors import ClientError, Unreachable, UsageError
from trainhub_client.lookups import path_of

CHUNK_BYTES = 1024 * 1024
TRIES = 5
PAUSE_SECONDS = 1.0


class Damaged(ClientError):
    """The bytes are not those that the server has on record."""


def parts_of(api: Api, artifact: dict[str, Any], project: str) -> tuple[str, list[dict[str, Any]]]:
    """The folder of a checkpoint that is one, and its files; else an empty name and the artifact
    alone."""
    run = f"/projects/{project}/runs/{artifact['run_id']}"
    path = path_of(artifact)
    if artifact["type"] != "checkpoint" or "/" not in path:
        return "", [artifact]
    archive = api.request("HEAD", f"{run}/artifacts/{artifact['id']}/archive")
    named = re.search(r'filename="?([^";]+)"?', archive.headers.get("Content-Disposition", ""))
    name = "" if named is None else named[1].removesuffix(".tar")
    folders = path.split("/")[:-1]
    if name not in folders:
        return "", [artifact]
    last = len(folders) - 1 - folders[::-1].index(name)
    prefix = "/".join(folders[: last + 1])
    files = [
        item for item in api.pages(f"{run}/artifacts") if path_of(item).startswith(f"{prefix}/")
    ]
    return prefix, files


def destination(path: str, folder: Path) -> Path:
    """Where a file of the server goes below ``folder``. Raises UsageError for a path that leads
    out."""
    target = folder.joinpath(*path.split("/"))
    if any(part in {"", ".", ".."} for part in path.split("/")) or not target.is_relative_to(
        folder
    ):
        raise UsageError(f"{path!r} cannot be a file here.")
    return target


def fetch(
    api: Api,
    url: str,
    target: Path,
    sha256: str,
    size: int,
    tell: Callable[[int], None] = lambda _count: None,
) -> None:
    """Download to ``target``, from where the server keeps the bytes, if it says where and that can
    be reached. ``tell`` gets the number of bytes that are there. Raises Damaged, Unreachable, and
    UsageError if it cannot be written."""
    part = target.with_name(f".{target.name}.{sha256[:12]}.part")
    is_direct = True
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, TRIES + 1):
            before = _size_of(part)
            try:
                _fetch_rest(api, url, part, sha256, size, tell, is_direct=is_direct)
                break
            except Unreachable:
                if number == TRIES:
                    raise
                is_direct = is_direct and _size_of(part) > before
                time.sleep(PAUSE_SECONDS * number)
        if _hash_of(part) != sha256:
            part.unlink()
            raise Damaged(f"{target.name}: its sha256 is not the one on record.", "damaged")
        os.replace(part, target)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}.") from None


def _size_of(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _fetch_rest(
    api: Api,
    url: str,
    part: Path,
    sha256: str,
    size: int,
    tell: Callable[[int], None],
    *,
    is_direct: bool,
) -> None:
    done = _size_of(part)
    if done > size:
        part.unlink()
        done = 0
    tell(done)
    if done == size and part.exists():
        return
    headers = {"Accept-Encoding": "identity"}
    if is_direct:
        headers["Prefer"] = DIRECT
    if done:
        headers |= {"Range": f"bytes={done}-", "If-Range": f'"{sha256}"'}
    with api.stream(url, headers=headers) as response, open(part, "ab") as file:
        if done and response.status_code != httpx.codes.PARTIAL_CONTENT:
            file.truncate(0)
            done = 0
        for chunk in response.iter_raw(CHUNK_BYTES):
            file.write(chunk)
            done += len(chunk)
            tell(done)
    if done < size:
        raise Unreachable(f"The download ended after {done} of {size} bytes.", "unreachable")


def _hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
