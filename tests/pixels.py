"""Pixels of pictures, to count those of a color."""

import struct
import zlib

import numpy as np


def decoded(png: bytes) -> np.ndarray:
    """The pixels of a PNG of 8-bit RGB or RGBA as rows of (red, green, blue)."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, content, header = 8, b"", b""
    while place < len(png):
        size, kind = struct.unpack(">I4s", png[place : place + 8])
        chunk = png[place + 8 : place + 8 + size]
        header = chunk if kind == b"IHDR" else header
        content += chunk if kind == b"IDAT" else b""
        place += size + 12
    width, height, depth, color, _compression, _filter, interlace = struct.unpack(
        ">IIBBBBB", header
    )
    assert (depth, interlace) == (8, 0)
    channels = {2: 3, 6: 4}[color]
    lines = np.frombuffer(zlib.decompress(content), dtype=np.uint8).reshape(height, -1)
    rows = np.zeros((height + 1, width + 1, channels), dtype=np.uint8)  # with a border of zeros
    for y, (kind, line) in enumerate(zip(lines[:, 0].tolist(), lines[:, 1:], strict=True), start=1):
        _unfilter(rows, y, kind, line.reshape(width, channels))
    return rows[1:, 1:, :3]


def _unfilter(rows: np.ndarray, y: int, kind: int, line: np.ndarray) -> None:
    """Undo one of the five filters of PNG (https://www.w3.org/TR/png-3/#9Filters)."""
    if kind == 0:
        rows[y, 1:] = line
    elif kind == 1:
        rows[y, 1:] = np.cumsum(line, axis=0, dtype=np.uint8)
    elif kind == 2:
        rows[y, 1:] = line + rows[y - 1, 1:]
    else:
        for x in range(1, line.shape[0] + 1):
            left, above, corner = (
                pixel.astype(int) for pixel in (rows[y, x - 1], rows[y - 1, x], rows[y - 1, x - 1])
            )
            guess = (left + above) // 2 if kind == 3 else _paeth(left, above, corner)
            rows[y, x] = (line[x - 1] + guess) % 256


def _paeth(left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    by_left, by_above, by_corner = (
        np.abs(above - corner),
        np.abs(left - corner),
        np.abs(left + above - 2 * corner),
    )
    nearest = np.where(by_above <= by_corner, above, corner)
    return np.where((by_left <= by_above) & (by_left <= by_corner), left, nearest)


def colored(pixels: np.ndarray, color: str, tolerance: int = 12) -> np.ndarray:
    """Which of the pixels have about the color "#rrggbb"."""
    wanted = np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)])
    return (np.abs(pixels.astype(int) - wanted) <= tolerance).all(axis=-1)
