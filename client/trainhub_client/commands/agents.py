"""A door for coding agents."""

from __future__ import annotations

import importlib

import typer

from trainhub_client.errors import UsageError
from trainhub_client.shell import command, connected

app = typer.Typer()


@command(app)
def mcp() -> None:
    """Serve coding agents by MCP on standard input and output, until it ends."""
    try:
        server = importlib.import_module("trainhub_client.mcp_server")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("trainhub_client"):
            raise
        raise UsageError(
            f"{error.name} is missing. Install it: pip install './client[mcp]' in the "
            "folder of TrainHub's source"
        ) from None
    with connected() as api:
        server.serve(api)
