"""Download a run's log as a text file of any length."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header
from django.utils.translation import get_language, override

from logs.lines import Line
from runs.models import Run

# Everything that str.splitlines splits at.
LINE_BREAK = re.compile("\r\n|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


def as_file(run: Run, batches: Iterator[Sequence[Line]]) -> StreamingHttpResponse:
    """Stream the lines as an attachment named after the run."""
    return StreamingHttpResponse(
        _texts(batches, get_language()),
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": content_disposition_header(True, f"{run.name}.log") or ""},
    )


def _texts(batches: Iterator[Sequence[Line]], language: str | None) -> Iterator[str]:
    """``language``: the reader's. It is no longer active when the server sends the answer."""
    while True:
        with override(language):
            lines = next(batches, None)
        if lines is None:
            return
        yield plain_text(lines)


def plain_text(lines: Sequence[Line]) -> str:
    """One line of text each: time, level, source and rank if set, message. Further lines of a
    message are indented, so that none looks like another entry."""
    return "".join(
        f"{format_time(timestamp)} {level} {_origin(source, rank)}{_indented(message)}\n"
        for _seq, timestamp, level, source, rank, message in lines
    )


def _indented(message: str) -> str:
    return LINE_BREAK.sub("\n    ", message)


def _origin(source: str, rank: int | None) -> str:
    source = LINE_BREAK.sub(" ", source)
    if rank is None:
        return f"{source} " if source else ""
    return f"{source}[{rank}] "


def format_time(timestamp: datetime) -> str:
    """``timestamp``, in UTC, in the API's format."""
    return timestamp.isoformat().removesuffix("+00:00") + "Z"
