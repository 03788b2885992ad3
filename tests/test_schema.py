"""Schemathesis tests of the API against its OpenAPI schema: no 5xx, no undocumented responses."""

import pytest
import schemathesis
from django.core.management import call_command
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import (
    ignored_auth,
    negative_data_rejection,
    positive_data_acceptance,
)

from accounts.models import Team
from accounts.open_mode import LOCAL_ADMINISTRATOR, local_administrator
from artifacts.models import Artifact
from notices.actions import send_test
from runs.actions import create_run
from runs.models import RunCode
from sweeps.actions import create_sweep
from sweeps.driving import advance
from tests.code_bundles.bundles import bundle
from tests.execution.mirror.attempts import begin_on_nodes
from tests.factories import ProjectFactory, UserFactory, WebhookFactory
from trainhub.wsgi import application

load_all_checks()
schema = schemathesis.openapi.from_dict(SchemaGenerator().get_schema(request=None, public=True))


def from_this_machine(environ, start_response):
    """Call the application as a web server on loopback does: Schemathesis does not set the peer
    address, without which open mode refuses the request, and does not close the response."""
    response = application({**environ, "REMOTE_ADDR": "127.0.0.1"}, start_response)
    if isinstance(response, list):
        return response
    try:
        return list(response)
    finally:
        response.close()


schema.app = from_this_machine

# Each test runs all examples in one transaction, and examples may use rows of earlier ones.
thorough = settings(
    max_examples=24,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
# In open mode, no request is refused for missing credentials (tests/accounts covers sign-in mode).
# The schema cannot express all rules for hyperparameters and recipe names, so a refusal in the
# documented shape is fine, too.
EXCLUDED_CHECKS = [ignored_auth, positive_data_acceptance]


@pytest.fixture(autouse=True)
def keep_connection(monkeypatch):
    """Keep requests from closing the connection that holds the test's transaction."""
    monkeypatch.setattr(application, "close_old_connection", lambda: None)
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@schema.parametrize()
@thorough
@pytest.mark.django_db
def test_responses_match_the_schema(case):
    response = case.call_and_validate(excluded_checks=EXCLUDED_CHECKS)

    assert response.status_code != 403, "refused at the door: nothing has been tried"


@pytest.fixture
def ids(db) -> dict[str, str]:
    run = create_run(
        ProjectFactory.create(), by=None, hyperparameters={"max_steps": 30, "save_steps": 5}
    )
    call_command("advance_runs", steps=10, verbosity=0)
    call_command("advance_runs", steps=10, verbosity=0)
    stored = bundle({"train.py": "print()"})
    RunCode.objects.create(run=run, bundle=stored)
    space = {"learning_rate": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True}}
    sweep = create_sweep(run.project, by=None, search_space=space, metric="train_loss")
    advance(sweep.pk)
    begin_on_nodes(run)
    hook, everywhere = WebhookFactory(project=run.project), WebhookFactory(project=None)
    return {
        "project_id": run.project_id,
        "run_id": run.pk,
        "sha256": stored.pk,
        "sweep_id": sweep.pk,
        "number": "1",
        "rank": "0",
        "username": UserFactory.create().username,
        "hook_id": hook.pk,
        "hook_of_all_id": everywhere.pk,
        "delivery_id": send_test(hook).pk,
        "team_id": Team.create("NLP", by=local_administrator()).pk,
    }


@schema.include(path_regex="{").parametrize()
@thorough
@pytest.mark.django_db
def test_responses_for_a_real_run_match_the_schema(case, ids):
    artifact = Artifact.objects.checkpoints().filter(run=ids["run_id"]).first()
    parameters = {"id": ids["run_id"], "path": "plots/loss.png", **ids}
    if "/artifacts/" in case.path:
        parameters["id"] = artifact.pk
    elif "/sweeps/" in case.path:
        parameters["id"] = ids["sweep_id"]
    elif "/webhooks/" in case.path:
        is_of_project = case.path.startswith("/projects/")
        parameters["id"] = ids["hook_id" if is_of_project else "hook_of_all_id"]
    elif case.path.startswith("/teams/") and case.method == "PATCH":
        parameters["username"] = LOCAL_ADMINISTRATOR  # the caller: they decide for themselves
    elif case.path == "/projects/{id}":
        parameters["id"] = ids["project_id"]
    case.path_parameters = {name: parameters[name] for name in case.path_parameters}
    if "source_artifact_id" in (case.query or {}):
        case.query["source_artifact_id"] = artifact.pk
    # The generated ids may have been invalid, but the real ones are valid.
    response = case.call_and_validate(excluded_checks=[*EXCLUDED_CHECKS, negative_data_rejection])

    assert response.status_code != 403, "refused at the door: nothing has been tried"
