"""The MCP server of the command line: what agents say on standard input goes to /mcp.

Tools are defined by the server alone, so this has whatever the server has. The protocol with the
agent is the SDK's; the server is asked like in any other command: with the stored token, repeated
while it does not answer. A call carries an Idempotency-Key, so that it makes one run at most.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

import anyio
import anyio.to_thread
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)

from trainhub_client import __version__
from trainhub_client.api import Api
from trainhub_client.errors import ClientError, NotFound

PATH: Final = "/mcp"
PROTOCOL: Final = "2025-11-25"  # the newest whose messages need nothing of earlier ones
HEADERS: Final = {"Accept": "application/json", "MCP-Protocol-Version": PROTOCOL}

Context = ServerRequestContext[Any]


def serve(api: Api) -> None:
    """Until standard input ends."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    anyio.run(_serve, api)


async def _serve(api: Api) -> None:
    server = _server(api, await _in_thread(_instructions, api))
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def _server(api: Api, instructions: str | None) -> Server[Any]:
    async def list_tools(
        _context: Context, _params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        try:
            return ListToolsResult.model_validate(await _in_thread(_asked, api, "tools/list", {}))
        except ClientError as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from None

    async def call_tool(_context: Context, params: CallToolRequestParams) -> CallToolResult:
        given = {"name": params.name, "arguments": params.arguments or {}}
        try:
            return CallToolResult.model_validate(await _in_thread(_asked, api, "tools/call", given))
        except ClientError as error:  # a result, so that the agent reads it
            text = TextContent(type="text", text=str(error))
            return CallToolResult(content=[text], is_error=True)

    return Server(
        "trainhub",
        version=__version__,
        title="TrainHub",
        instructions=instructions,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def _in_thread(function: Any, *given: Any) -> Any:
    return await anyio.to_thread.run_sync(function, *given, abandon_on_cancel=True)


def _instructions(api: Api) -> str | None:
    """What the server tells agents; None while it does not answer, which the first call tells."""
    client = {"name": "trainhub-client", "version": __version__}
    given = {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": client}
    once = Api(api.config, tries=1)
    try:
        instructions: str | None = _asked(once, "initialize", given).get("instructions")
    except (ClientError, MCPError):
        return None
    finally:
        once.close()
    return instructions


def _asked(api: Api, method: str, given: dict[str, Any]) -> dict[str, Any]:
    """The result of a request of JSON-RPC. Raises ClientError, MCPError."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": given}
    try:
        answer = api.create(PATH, message, headers=HEADERS)
    except NotFound:
        raise NotFound(f"{api.config.url} has no {PATH}: it is older than this program.") from None
    if "error" in answer:
        error = answer["error"]
        raise MCPError(error["code"], error["message"], error.get("data"))
    result: dict[str, Any] = answer["result"]
    return result
