"""Agents that start `trainhub mcp` or ask /mcp of a real server: the SDK's own client."""

from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from accounts.models import Token
from accounts.roles import Role, Scope
from audit.models import Entry
from runs.models import Run
from tests.client.program import Program
from tests.factories import RunFactory, member_of
from tests.http import Api
from tests.web_server import web_server

pytestmark = [
    pytest.mark.processes,
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
    pytest.mark.xdist_group("client"),
]


def by_program(program: Program, *calls: tuple[str, dict[str, Any]]) -> Any:
    """The names of the tools, and the results of the calls, in one start of the program."""
    server = StdioServerParameters(
        command=program.command[0], args=[*program.command[1:], "mcp"], env=program.environment
    )
    return anyio.run(_listed_and_called, server, calls)


def by_http(url: str, token: str, *calls: tuple[str, dict[str, Any]]) -> Any:
    async def connected() -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            return await _listed_and_called(
                streamable_http_client(f"{url}/mcp", http_client=http), calls
            )

    return anyio.run(connected)


async def _listed_and_called(server: Any, calls: Any) -> Any:
    async with Client(server) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        return tools, [await client.call_tool(*call) for call in calls]


def test_agent_that_starts_the_program_reads_and_writes(trainhub, project):
    waiting = RunFactory(project=project)

    tools, (listed, made, why, unknown) = by_program(
        trainhub,
        ("list_projects", {}),
        ("queue_run", {"name": "by-agent"}),
        ("why_not_running", {"run": waiting.pk}),
        ("get_run", {"run": "run_nope"}),
    )

    assert {"find_runs", "cancel_run"} <= set(tools)
    assert listed.structured_content["projects"][0]["id"] == project.pk
    assert Run.objects.get(name="by-agent").pk == made.structured_content["run"]
    assert why.structured_content["waits_for"] == "worker"
    assert unknown.is_error
    assert unknown.content[0].text == "There is no run run_nope that you may see."


def test_program_tells_agents_that_the_server_is_away(trainhub):
    away = Program(trainhub.home, TRAINHUB_URL="http://127.0.0.1:9")

    with pytest.raises(ExceptionGroup) as caught:
        by_program(away)

    assert "http://127.0.0.1:9 cannot be reached" in told(caught.value)


def test_program_without_a_server_ends_with_a_message(tmp_path):
    done = Program(tmp_path)("mcp")

    assert done.code == 2
    assert "trainhub login" in done.err


def test_agents_of_a_server_with_sign_in_are_as_good_as_their_tokens(
    project, server, tmp_path_factory, tmp_path
):
    member = member_of(project, Role.MEMBER, username="mei")
    reading, writing = (Token.issue(member, scope=scope)[1] for scope in (Scope.READ, Scope.WRITE))
    with web_server(tmp_path_factory.mktemp("sign-in"), TRAINHUB_OPEN_MODE="false") as closed:
        read_tools, _none = by_http(closed.url, reading)
        write_tools, (made,) = by_http(closed.url, writing, ("queue_run", {}))
        refused = Api(closed.url, {"Authorization": "Bearer th_wrong"}).post("/mcp", {})
        wrong = Program(tmp_path, TRAINHUB_URL=closed.url, TRAINHUB_TOKEN="th_wrong")
        with pytest.raises(ExceptionGroup) as caught:
            by_program(wrong)

    assert "queue_run" not in read_tools
    assert "queue_run" in write_tools
    entry = Entry.objects.get(action="run.created", subject_id=made.structured_content["run"])
    assert (entry.actor, entry.via) == ("mei", "mcp")
    assert refused.status == 401
    assert ("www-authenticate", "Bearer") in {(k.lower(), v) for k, v in refused.headers.items()}
    assert "Sign in: trainhub login" in told(caught.value)


def told(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, MCPError)
    return error.message
