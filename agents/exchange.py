"""One request and its answer, through the SDK's transport."""

from __future__ import annotations

from typing import Any

import anyio
from django.http import HttpRequest, HttpResponse
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

import agents.tools  # noqa: F401  registers them
from agents.server import server_for
from agents.tool import Caller

PREFIX = "HTTP_"


async def answered(request: HttpRequest, caller: Caller, body: bytes) -> HttpResponse:
    """The SDK's answer. Host and Origin have been checked, the body is within its limit."""
    manager = StreamableHTTPSessionManager(
        server_for(caller),
        json_response=True,
        stateless=True,
        max_request_body_size=len(body) + 1,
    )
    response = HttpResponse()
    del response["Content-Type"]
    is_sent = False

    async def receive() -> dict[str, Any]:
        nonlocal is_sent
        if is_sent:  # what comes next is that the client leaves, which WSGI does not tell
            await anyio.sleep_forever()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            response.status_code = message["status"]
            for name, value in message.get("headers", ()):
                if name.lower() != b"content-length":
                    response[name.decode("latin-1")] = value.decode("latin-1")
        elif message["type"] == "http.response.body":
            response.write(message.get("body", b""))

    async with manager.run():
        await manager.handle_request(_scope(request), receive, send)
    return response


def _scope(request: HttpRequest) -> dict[str, Any]:
    headers = {"content-type": request.META.get("CONTENT_TYPE", "")}
    for name, value in request.META.items():
        if name.startswith(PREFIX):
            headers[name.removeprefix(PREFIX).replace("_", "-").lower()] = value
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (name.encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in headers.items()
        ],
        "client": None,
        "server": None,
        "state": {},
    }
