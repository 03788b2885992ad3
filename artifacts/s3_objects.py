"""Objects in S3 as files whose bytes are fetched while they are read: none is copied to disk."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any, Final

from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

BLOCK_BYTES: Final = 256 * 1024  # fetched at once where little of an object is read
MAX_FAILURES: Final = 5  # in a row, at one position
LOST: Final = (
    *(IncompleteReadError, ReadTimeoutError, ResponseStreamingError),
    *(ConnectionError, TimeoutError),
)


class Streamed(io.RawIOBase):
    """The bytes of an object from ``first`` to before ``end`` (None: its end), by one request.

    A lost connection is made again where it was lost. ``fetch``: S3's response to GET, given the
    first byte, the end and the ETag that the object must have (empty: any).
    """

    _body: Any = None

    def __init__(
        self,
        fetch: Callable[[int, int | None, str], dict[str, Any]],
        first: int = 0,
        end: int | None = None,
    ) -> None:
        self._fetch, self._position = fetch, first
        self._failures = 0
        response = fetch(first, end, "")
        self._body, self._etag = response["Body"], response["ETag"]
        self._end = first + response["ContentLength"]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._read(len(buffer)) if self._position < self._end else b""
        buffer[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)

    def _read(self, size: int) -> bytes:
        while True:
            try:
                chunk: bytes = self._body.read(size)
            except LOST:
                self._failures += 1
                if self._failures >= MAX_FAILURES:
                    raise
                self._reconnect()
            else:
                self._failures = 0
                return chunk

    def _reconnect(self) -> None:
        self._body.close()
        self._body = self._fetch(self._position, self._end, self._etag)["Body"]

    def close(self) -> None:
        if self._body is not None:
            self._body.close()  # and its connection, if not all was read
        super().close()


class InBlocks(io.RawIOBase):
    """An object of ``size`` bytes of which only the blocks that are read are fetched.

    ``read_range``: the bytes from the first to before the second.
    """

    def __init__(self, read_range: Callable[[int, int], bytes], size: int) -> None:
        self._read_range, self._size = read_range, size
        self._position = 0
        self._blocks: dict[int, bytes] = {}

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        number, inside = divmod(self._position, BLOCK_BYTES)
        content = self._block(number)[inside : inside + len(buffer)]
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def _block(self, number: int) -> bytes:
        first = number * BLOCK_BYTES
        if first >= self._size:
            return b""
        if number not in self._blocks:
            end = min(first + BLOCK_BYTES, self._size)
            self._blocks[number] = self._read_range(first, end)
        return self._blocks[number]
