"""Streams an artifact's bytes over HTTP, in full or as a single range (RFC 9110 §14)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from django.core.files.base import File
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _

from artifacts import direct_downloads
from artifacts.models import Artifact
from artifacts.tar_stream import Member, blocks, size_of
from core.errors import json_error

CHUNK_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Unsatisfiable(Exception):
    """The range starts past the end of the file."""


def download(request: HttpRequest, artifact: Artifact) -> HttpResponseBase:
    """200 with all bytes, 206 with the requested range, 304 or 412 if the request has such a
    condition (RFC 9110 §13), or 416; in answer to HEAD, no bytes are read. 302 to S3 if the client
    prefers that: see direct_downloads.py. Raises FileNotFoundError."""
    etag = f'"{artifact.sha256}"'
    unmet: HttpResponseBase | None = get_conditional_response(request, etag=etag)
    if unmet is not None:
        unmet["ETag"] = etag
        return unmet
    redirect = direct_downloads.redirect(request, artifact)
    if redirect is not None:
        return redirect
    size = artifact.size_bytes
    if_range = request.headers.get("If-Range", etag)
    try:
        bounds = parse_range(request.headers.get("Range", ""), size) if if_range == etag else None
    except Unsatisfiable:
        return _not_satisfiable(size)
    first, end = bounds or (0, size)
    is_head = request.method == "HEAD"
    response = StreamingHttpResponse(
        _nothing_of(artifact) if is_head else _Slice(_opened(artifact, bounds), end - first),
        status=206 if bounds else 200,
        content_type=artifact.content_type,
    )
    response["Content-Length"] = str(end - first)
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = etag
    response["Content-Disposition"] = content_disposition_header(True, artifact.file_name) or ""
    if bounds:
        response["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
    return response


def _opened(artifact: Artifact, bounds: tuple[int, int] | None) -> File[Any]:
    return artifact.open() if bounds is None else artifact.open(*bounds)


def _nothing_of(artifact: Artifact) -> tuple[bytes, ...]:
    """Raises FileNotFoundError, as reading would."""
    if not artifact.is_stored():
        raise FileNotFoundError(artifact.storage_key)
    return ()


def download_archive(request: HttpRequest, artifact: Artifact) -> StreamingHttpResponse:
    """All files of ``artifact`` in one tar archive; in answer to HEAD, none is read."""
    name = PurePosixPath(artifact.folder).name
    members = [
        Member(
            f"{name}/{PurePosixPath(part.file).relative_to(artifact.folder)}"
            if name
            else part.file_name,
            part.size_bytes,
            part.updated_at.timestamp(),
            part.open,
        )
        for part in artifact.parts()
    ]
    content = () if request.method == "HEAD" else blocks(members)
    response = StreamingHttpResponse(content, content_type="application/x-tar")
    response["Content-Length"] = str(size_of(members))
    response["Content-Disposition"] = (
        content_disposition_header(True, f"{name or artifact.file_name}.tar") or ""
    )
    return response


def _not_satisfiable(size: int) -> HttpResponse:
    detail = _("Range not satisfiable: the file has %(size)d bytes.") % {"size": size}
    response = json_error(416, "range_not_satisfiable", detail)
    response["Content-Range"] = f"bytes */{size}"
    return response


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """The first byte and the end (exclusive); None if the header is not a single byte range, in
    which case the response is the whole file. Raises Unsatisfiable."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:  # the last N bytes
        if int(last) == 0:
            raise Unsatisfiable
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise Unsatisfiable
    return int(first), min(size, int(last) + 1) if last else size


class _Slice:
    """The next ``length`` bytes of ``file``. Closed with the response, read or not."""

    def __init__(self, file: File[Any], length: int) -> None:
        self.file = file
        self.left = length

    def __iter__(self) -> Iterator[bytes]:
        while self.left > 0 and (chunk := self.file.read(min(CHUNK_BYTES, self.left))):
            self.left -= len(chunk)
            yield chunk

    def close(self) -> None:
        self.file.close()
