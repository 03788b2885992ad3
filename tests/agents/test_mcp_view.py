"""POST /mcp: who is let in, and what is refused before any tool is called."""

import pytest

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_client_of_any_age_lists_and_calls(agent, project, mode):
    agent.mode = mode

    assert "find_runs" in agent.tools()
    assert agent("list_projects")["projects"][0]["id"] == project.pk
