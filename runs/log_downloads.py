"""A run's log as a text file of any length."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header

from runs.log_search import Row
from runs.models import Run


def as_file(run: Run, found: Iterator[Sequence[Row]]) -> StreamingHttpResponse:
    """The lines ``found`` as they are read, to be saved under the run's name."""
    return StreamingHttpResponse(
        (plain_text(rows) for rows in found),
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": content_disposition_header(True, f"{run.name}.log") or ""},
    )


def plain_text(rows: Sequence[Row]) -> str:
    """A line each: time, level, source and rank where there are any, message."""
    return "".join(
        f"{written(timestamp)} {level} {_origin(source, rank)}{message}\n"
        for _seq, timestamp, level, source, rank, message in rows
    )


def _origin(source: str, rank: int | None) -> str:
    if rank is None:
        return f"{source} " if source else ""
    return f"{source}[{rank}] "


def written(timestamp: datetime) -> str:
    """As the API writes every time."""
    return timestamp.isoformat().removesuffix("+00:00") + "Z"
