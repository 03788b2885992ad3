"""What goes wrong, and the exit code that a script sees."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    OK = 0
    RUN_FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4  # by the server, or by this program before it asks the server
    UNREACHABLE = 5  # or too slow, or broken
    RUN_CANCELLED = 6
    INTERRUPTED = 130
    READER_GONE = 141  # of this program's output, as with SIGPIPE


class ClientError(Exception):
    """An error with a message for people and a code for scripts."""

    exit_code = ExitCode.REFUSED

    def __init__(self, message: str, code: str = "error") -> None:
        super().__init__(message)
        self.code = code


class UsageError(ClientError):
    exit_code = ExitCode.USAGE


class NotFound(ClientError):
    exit_code = ExitCode.NOT_FOUND


class Refused(ClientError):
    """The server does not do it; repeating it changes nothing."""


class Unreachable(ClientError):
    exit_code = ExitCode.UNREACHABLE
