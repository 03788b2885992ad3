"""What all commands share: options, errors as exit codes, the connection."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from trainhub_client import config
from trainhub_client.api import Api
from trainhub_client.errors import ClientError, ExitCode
from trainhub_client.output import note

Command = TypeVar("Command", bound=Callable[..., Any])

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, in a shape that stays.")]
Project = Annotated[
    str,
    typer.Option(
        "--project", "-P", help="Its id or name. Default: `trainhub use`, or TRAINHUB_PROJECT."
    ),
]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Its id, how that begins, or its name.")
]


def command(app: typer.Typer, name: str | None = None) -> Callable[[Command], Command]:
    """Register a command. What it raises becomes a message on standard error and an exit code; what
    it returns, if anything, is the exit code."""

    def decorate(function: Command) -> Command:
        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> None:
            with _errors(as_json=bool(kwargs.get("as_json"))):
                code = function(*args, **kwargs)
                sys.stdout.flush()
            if code:
                raise SystemExit(int(code))

        app.command(name)(guarded)
        return function

    return decorate


@contextlib.contextmanager
def _errors(*, as_json: bool) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        _tell(error, as_json=as_json)
        raise SystemExit(int(error.exit_code)) from None
    except KeyboardInterrupt:
        raise SystemExit(int(ExitCode.INTERRUPTED)) from None
    except BrokenPipeError:
        _end_quietly()


def _tell(error: ClientError, *, as_json: bool) -> None:
    if as_json:
        content = {"code": error.code, "message": str(error), "exit_code": int(error.exit_code)}
        sys.stderr.write(json.dumps({"error": content}, ensure_ascii=False) + "\n")
    else:
        note(str(error), "red")


def _end_quietly() -> NoReturn:
    """Whoever read the output has gone: what is left of it must not raise again at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(int(ExitCode.READER_GONE))


@contextlib.contextmanager
def connected(*, tries: int | None = None) -> Iterator[Api]:
    api = Api(config.load()) if tries is None else Api(config.load(), tries=tries)
    try:
        yield api
    finally:
        api.close()
