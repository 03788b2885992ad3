"""The form of log lines: text for people, JSON for machines; both without secrets."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import orjson

from core.log_scrubbing import scrub


class TextFormatter(logging.Formatter):
    """A line for people. ``ContextFilter`` sets ``context``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s%(context)s")

    def format(self, record: logging.LogRecord) -> str:
        return scrub(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """On one line: what a client has sent must not look like a line of its own."""
        return super().formatMessage(record).replace("\r", r"\r").replace("\n", r"\n")


class JsonFormatter(logging.Formatter):
    """An object per line: time (RFC 3339, UTC), level, logger, message, the fields of the context
    (request, run, attempt, worker), and the traceback as ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": scrub(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = scrub(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = scrub(self.formatStack(record.stack_info))
        # A lone surrogate, as of a file name that is not UTF-8, has no JSON.
        return orjson.dumps(_encodable(line)).decode()


def _encodable(line: dict[str, Any]) -> dict[str, str]:
    return {name: str(text).encode(errors="replace").decode() for name, text in line.items()}
