"""The API against its own description, by Schemathesis: no 5xx, nothing the schema does not say."""

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

from artifacts.models import Artifact
from runs.actions import create_run
from tests.factories import ProjectFactory
from trainhub.wsgi import application

load_all_checks()
schema = schemathesis.openapi.from_dict(SchemaGenerator().get_schema(request=None, public=True))


def from_this_machine(environ, start_response):
    """The application as a web server on loopback calls it: Schemathesis names no peer, and open
    mode refuses whoever is not of this machine. Nor does it close what it is given."""
    answer = application({**environ, "REMOTE_ADDR": "127.0.0.1"}, start_response)
    try:
        return list(answer)
    finally:
        answer.close()


schema.app = from_this_machine

# The whole test is one transaction over all examples, and rows that one makes the next may use.
thorough = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
# In open mode nothing is refused for want of credentials (tests/accounts proves the other mode).
# What hyperparameters and names of recipes may be is more than a schema can say: a refusal in the
# documented shape is an answer too.
LEFT_OUT = [ignored_auth, positive_data_acceptance]


@pytest.fixture(autouse=True)
def keep_connection():
    """A request's end must not close the connection that holds the test's transaction."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@schema.parametrize()
@thorough
@pytest.mark.django_db
def test_every_answer_is_as_described(case):
    response = case.call_and_validate(excluded_checks=LEFT_OUT)

    assert response.status_code != 403, "refused at the door: nothing has been tried"


@pytest.fixture
def ids(db) -> dict[str, str]:
    run = create_run(
        ProjectFactory.create(), by=None, hyperparameters={"max_steps": 30, "save_steps": 5}
    )
    call_command("advance_runs", steps=10, verbosity=0)
    call_command("advance_runs", steps=10, verbosity=0)
    return {"project_id": run.project_id, "run_id": run.pk}


@schema.include(path_regex="{").parametrize()
@thorough
@pytest.mark.django_db
def test_every_answer_about_a_real_run_is_as_described(case, ids):
    artifact = Artifact.objects.checkpoints().filter(run=ids["run_id"]).first()
    real = {"id": ids["run_id"], **ids}
    if "/artifacts/" in case.path:
        real["id"] = artifact.pk
    elif case.path == "/projects/{id}":
        real["id"] = ids["project_id"]
    case.path_parameters = {name: real[name] for name in case.path_parameters}
    if "source_artifact_id" in (case.query or {}):
        case.query["source_artifact_id"] = artifact.pk
    # The ids are real now, whatever was wrong with those that were made up.
    response = case.call_and_validate(excluded_checks=[*LEFT_OUT, negative_data_rejection])

    assert response.status_code != 403, "refused at the door: nothing has been tried"
