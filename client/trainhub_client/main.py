"""The command ``trainhub``.

Exit codes: 0 done; 1 the run has failed; 2 wrong use; 3 not found; 4 refused; 5 the server cannot
be reached; 6 the run was cancelled; 130 interrupted; 141 nobody reads the output any longer.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from trainhub_client import __version__
from trainhub_client.commands import agents, reading, runs, session
from trainhub_client.errors import ExitCode

app = typer.Typer(
    help="Submit trainings to a TrainHub and follow them.",
    epilog="Exit codes: 0 done, 1 run failed, 2 wrong use, 3 not found, 4 refused, 5 unreachable, "
    "6 run cancelled, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (session, runs, reading, agents):
    app.registered_commands += part.app.registered_commands


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"trainhub-client {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:
    """Submit trainings to a TrainHub and follow them."""


def run() -> None:
    try:
        app(prog_name="trainhub")
    except KeyboardInterrupt:
        sys.exit(int(ExitCode.INTERRUPTED))


if __name__ == "__main__":
    run()
