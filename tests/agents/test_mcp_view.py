"""POST /mcp: who is let in, and what is refused before any tool is called."""

import json
from datetime import timedelta

import pytest
from django.test import Client
from mcp.shared.exceptions import MCPError

from accounts.models import Token
from accounts.roles import Scope
from tests.agents.agent import Agent
from tests.agents.conftest import agent_of
from tests.factories import unmanaged_run

pytestmark = pytest.mark.django_db

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
NONSENSE = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"[" * 100_000,
    b"\xff\xfe",
    b'{"jsonrpc":"2.0"}',
    b'{"jsonrpc":"2.0","id":1,"method":"nope"}',
    b'{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\\ud800"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_run","arguments":[]}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7,"arguments":{}}}',
    json.dumps([LIST, LIST]).encode(),
]


def send(body: object = LIST, *, token: str = "", method: str = "POST", **headers: str):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Accept": "application/json", "Accept-Language": "en", **headers}
    if token:
        given["Authorization"] = f"Bearer {token}"
    return Client(raise_request_exception=False).generic(
        method, "/mcp", content, content_type="application/json", headers=given
    )


@pytest.fixture
def token(member) -> str:
    return Token.issue(member)[1]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_client_of_any_age_lists_and_calls(agent, project, mode):
    agent.mode = mode

    assert "find_runs" in agent.tools()
    assert agent("list_projects")["projects"][0]["id"] == project.pk


def test_request_without_token_is_unauthorized():
    answer = send()

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["jsonrpc"] == "2.0"
    assert answer.json()["error"]["message"]


def test_expired_token_is_unauthorized(member):
    expired = Token.issue(member, life=timedelta(seconds=-1))[1]

    answer = send(token=expired)

    assert answer.status_code == 401
    assert answer.json()["error"]["message"] == "The token has expired."


def test_client_without_token_is_told_why(project):
    with pytest.raises(MCPError, match="credentials"):
        Agent(mode="legacy").tools()


def test_session_of_a_browser_does_not_count(member):
    browser = Client()
    browser.force_login(member)

    answer = browser.post("/mcp", LIST, content_type="application/json")

    assert answer.status_code == 401


def test_token_of_a_run_is_refused(member, project):
    run = unmanaged_run(project=project)
    own = Token.issue(member, scope=Scope.WRITE, run_id=run.pk)[1]

    answer = send(token=own)

    assert answer.status_code == 403
    assert run.pk in answer.json()["error"]["message"]


def test_request_of_another_origin_is_refused(token):
    assert send(token=token, Origin="https://elsewhere.example").status_code == 403
    assert send(token=token, Origin="http://testserver").status_code == 200


def test_request_for_another_host_is_refused(token):
    assert send(token=token, Host="rebound.example").status_code == 400


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH"])
def test_other_methods_are_not_allowed(token, method):
    answer = send(token=token, method=method)

    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"


def test_too_large_body_is_refused(token, settings):
    settings.MAX_JSON_BYTES = 1000

    assert send(b"x" * 1001, token=token).status_code == 413


def test_open_mode_lets_in_this_machine_alone(settings, project):
    settings.OPEN_MODE = True
    fields = {"content_type": "application/json", "headers": {"Accept": "application/json"}}

    here = Client().post("/mcp", LIST, **fields)
    elsewhere = Client(REMOTE_ADDR="192.0.2.7").post("/mcp", LIST, **fields)

    assert "cancel_run" in {tool["name"] for tool in here.json()["result"]["tools"]}
    assert elsewhere.status_code == 403


@pytest.mark.parametrize("version", ["", "2025-06-18", "2026-07-28", "banana"])
def test_nonsense_is_never_an_error_of_the_server(token, version):
    headers = {"MCP-Protocol-Version": version} if version else {}

    statuses = {send(body, token=token, **headers).status_code for body in NONSENSE}

    assert max(statuses) < 500


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_number_that_is_not_finite_makes_no_run(token, project, number):
    """JSON has none, but the SDK's parser takes them, and would write null instead."""
    params = f'{{"name":"queue_run","arguments":{{"hyperparameters":{{"x":{number}}}}}}}'

    body = f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}'
    answer = send(body.encode(), token=token, **{"MCP-Protocol-Version": "2025-06-18"})

    assert answer.status_code < 500
    assert not project.runs.exists()


def test_unknown_tool_is_named_with_those_there_are(agent):
    with pytest.raises(MCPError, match=r"no tool 'nope'.*find_runs"):
        agent.result("nope")


def test_texts_are_in_the_language_of_the_caller(member):
    agent = agent_of(member)
    agent.headers["Accept-Language"] = "zh-hans"

    assert "run_nope" in agent.refused("get_run", run="run_nope")
