"""The SDK's own client, whose requests the test's thread answers: with its transaction."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import httpx2
from asgiref.sync import async_to_sync, sync_to_async
from django.test import Client as Browser
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, Tool

URL = "http://testserver/mcp"


class Transport(httpx2.AsyncBaseTransport):
    """Sends a request to Django's test client."""

    def __init__(self, **environ: Any) -> None:
        self.browser = Browser(raise_request_exception=False, **environ)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        headers = {name: value for name, value in request.headers.items() if name != "host"}
        answer: Any = await sync_to_async(self.browser.generic)(
            request.method,
            request.url.path,
            body,
            content_type=headers.pop("content-type", ""),
            headers=headers,
        )
        return httpx2.Response(
            answer.status_code, headers=list(answer.items()), content=answer.content
        )


class Agent:
    """``token``: of its requests; none without one. ``mode``: see mcp.Client."""

    def __init__(self, token: str = "", *, mode: str = "auto", language: str = "en") -> None:
        self.mode = mode
        self.headers = {"Accept-Language": language}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"

    def do(self, scenario: Callable[[Client], Awaitable[Any]]) -> Any:
        async def connected() -> Any:
            async with httpx2.AsyncClient(transport=Transport(), headers=self.headers) as http:
                transport = streamable_http_client(URL, http_client=http)
                async with Client(transport, mode=self.mode) as client:
                    return await scenario(client)

        try:
            return async_to_sync(connected)()
        except ExceptionGroup as group:  # of the client's tasks
            raise _only(group) from None

    def tools(self) -> dict[str, Tool]:
        async def listed(client: Client) -> Any:
            return await client.list_tools()

        return {tool.name: tool for tool in self.do(listed).tools}

    def result(self, tool: str, /, **arguments: Any) -> CallToolResult:
        async def called(client: Client) -> Any:
            return await client.call_tool(tool, arguments)

        found: CallToolResult = self.do(called)
        return found

    def results(self, tool: str, calls: Iterable[dict[str, Any]]) -> list[CallToolResult]:
        """Of several calls, in one connection."""

        async def called(client: Client) -> Any:
            return [await client.call_tool(tool, arguments) for arguments in calls]

        found: list[CallToolResult] = self.do(called)
        return found

    def __call__(self, tool: str, /, **arguments: Any) -> Any:
        """The content of the answer, which is no error."""
        found = self.result(tool, **arguments)
        assert not found.is_error, found.content
        text = getattr(found.content[0], "text", "")
        assert json.loads(text) == found.structured_content
        return found.structured_content

    def refused(self, tool: str, /, **arguments: Any) -> str:
        """The text of the answer, which is an error."""
        found = self.result(tool, **arguments)
        assert found.is_error, found.structured_content
        return str(getattr(found.content[0], "text", ""))


def _only(error: Exception) -> Exception:
    """The one exception of groups in groups; else the group."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
