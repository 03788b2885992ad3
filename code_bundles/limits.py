"""How much code a run may bring."""

from __future__ import annotations

from typing import Final

MAX_ARCHIVE_BYTES: Final = 100 * 1024**2
MAX_UNPACKED_BYTES: Final = 500 * 1024**2
MAX_FILES: Final = 10_000
MAX_PATH_BYTES: Final = 500
MAX_DEPTH: Final = 50  # folders around a file
MAX_DIRECTORY_BYTES: Final = 8 * 1024**2  # of the archive's directory, which is read into memory
