"""The tools that change something: by the REST API, each on the audit."""

import pytest
from django.core.management import call_command

from accounts.models import Token
from accounts.roles import Scope
from audit.models import Entry
from registry.release_policy import change_policy
from runs.actions import create_run
from runs.models import Run
from runs.status import RunStatus
from tests.agents.agent import Agent
from tests.factories import RunFactory, checkpoint, unmanaged_run

pytestmark = pytest.mark.django_db


def test_run_is_queued_with_what_is_given(agent, project, member):
    found = agent("queue_run", name="mine", hyperparameters={"max_steps": 7}, priority=3, gpus=0)

    run = Run.objects.get(pk=found["run"])
    assert (run.name, run.priority, run.created_by, run.status) == (
        "mine",
        3,
        member,
        RunStatus.QUEUED,
    )
    assert run.hyperparameters["max_steps"] == 7


def test_change_is_on_the_audit_with_its_token(member, project):
    token, secret = Token.issue(member, scope=Scope.WRITE)

    found = Agent(secret)("queue_run")

    entry = Entry.objects.get(action="run.created", subject_id=found["run"])
    assert (entry.actor, entry.token_id, entry.via) == ("mei", token.pk, "mcp")
    assert entry.address == "127.0.0.1"


def test_refusal_of_the_api_names_the_argument(agent, project):
    text = agent.refused("queue_run", recipe="nope")

    assert text.startswith("recipe: ")
    assert not Run.objects.filter(project=project).exists()


def test_call_that_is_sent_twice_makes_one_run(agent, project):
    agent.headers["Idempotency-Key"] = "one-call-1"

    runs = {agent("queue_run")["run"] for _ in range(2)}

    assert len(runs) == 1


def test_queued_run_is_cancelled(agent, project):
    run = RunFactory(project=project)

    found = agent("cancel_run", run=run.pk)

    assert found["status"] == "已取消"
    assert found["is_stopping"] is False


def test_run_is_resumed_from_its_latest_checkpoint(agent, project, member):
    run = create_run(project, by=member, hyperparameters={"max_steps": 30, "save_steps": 5})
    call_command("advance_runs", steps=10, verbosity=0)
    agent("cancel_run", run=run.pk)

    found = agent("resume_run", run=run.pk, hyperparameters={"max_steps": 50})

    resumed = Run.objects.get(pk=found["run"])
    assert run.artifacts.filter(pk=resumed.resumed_from_id).exists()
    assert found["start_step"] == 10
    assert resumed.hyperparameters["max_steps"] == 50


def test_run_without_checkpoint_is_not_resumed(agent, project):
    run = RunFactory(project=project)

    text = agent.refused("resume_run", run=run.pk)

    assert text == f"The run {run.pk} has no whole checkpoint."


def test_tags_of_a_run_are_merged(agent, project):
    run = unmanaged_run(project=project, tags={"old": "1", "gone": "2"})

    found = agent("tag_run", run=run.pk, tags={"new": "3", "gone": None})

    assert found["tags"] == {"old": "1", "new": "3"}


def test_release_that_needs_approval_is_asked_for(agent, project, member):
    change_policy(project, by=None, needs_approval=True)
    kept = checkpoint(unmanaged_run(project=project))

    found = agent("tag_checkpoint", checkpoint=kept.pk, tag="released", notes="best so far")

    assert found["approval_asked"]["state"]
    assert not kept.tags.exists()


def test_unknown_tag_is_told_with_the_known(agent, project):
    kept = checkpoint(unmanaged_run(project=project))

    text = agent.refused("tag_checkpoint", checkpoint=kept.pk, tag="good")

    assert text == ("tag: good is no tag of checkpoints. Known: candidate, released, archived.")
