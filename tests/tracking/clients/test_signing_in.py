"""Clients against a server that requires sign-in: tokens work, rejections are not retried."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from accounts.models import Token
from accounts.roles import Role
from accounts.tokens import issue_script_token
from tests.factories import (
    ProjectFactory,
    RecipeFactory,
    UserFactory,
    member_of,
    running,
    unmanaged_run,
)
from tests.tracking.clients.conftest import Hub
from tests.web_server import web_server

pytestmark = pytest.mark.django_db(serialized_rollback=True)

# If clients retried a rejection, they would take minutes.
MAX_REJECTION_SECONDS = 30


@pytest.fixture(scope="package")
def token(server, django_db_blocker):
    """A token of user li, whom ``server`` deletes on teardown."""
    with django_db_blocker.unblock():
        _stored, token = Token.issue(UserFactory(username="li"))
    return token


@pytest.fixture(scope="package")
def secured(version, token, tmp_path_factory):
    """A server in production mode, which requires sign-in."""
    folder = tmp_path_factory.mktemp(f"secured-{version}")
    production = {"TRAINHUB_PRODUCTION": True, "TRAINHUB_PLAIN_HTTP": True}
    with web_server(folder, TRAINHUB_SECRET_KEY="x" * 64, **production) as server:
        server.api.headers["Authorization"] = f"Bearer {token}"
        yield server


@pytest.fixture(scope="package")
def signing_in(client, secured, token):
    environment = {"MLFLOW_TRACKING_URI": secured.url, "MLFLOW_EXPERIMENT_NAME": "登录"}
    return client.run("signing_in", TOKEN=token, **environment)


def test_token_is_accepted_as_token_and_as_password(signing_in, secured):
    runs = Hub(secured.api).runs("登录")

    for name in ("token", "password"):
        run = runs[f"by {name}"]
        assert run["id"] == signing_in[name]["run"]
        assert (run["status"], run["metrics"]) == ("已完成", {"loss": 0.5})
    assert "never" not in runs


@pytest.mark.parametrize("credentials", ["wrong token", "wrong password", "none"])
def test_rejection_is_immediate(signing_in, credentials):
    error = signing_in[credentials]

    assert error["code"] == "UNAUTHENTICATED"
    assert "UNAUTHENTICATED: " in error["message"]
    assert error["seconds"] < MAX_REJECTION_SECONDS


# --- the token of a run's script -------------------------------------------------------------


@pytest.fixture(scope="package")
def script(client, secured, token, django_db_blocker):
    """The run of a script that used its run's token, and its results."""
    with django_db_blocker.unblock():
        project = ProjectFactory(name="归属")
        project.roles.create(user=User.objects.get(username="li"), role=Role.VIEWER)
        user = member_of(project)
        run = running(recipe=RecipeFactory(), created_by=user, project=project)
        own, digest = issue_script_token(user, run.pk, life=timedelta(hours=1))
        run.change(script_tokens=[digest])
        other = unmanaged_run(name="other")
    variables = {"MLFLOW_TRACKING_TOKEN": own, "MLFLOW_RUN_ID": run.pk, "OTHER_RUN": other.pk}
    results = client.run("own_run", MLFLOW_TRACKING_URI=secured.url, PROJECT="归属", **variables)
    return run, results


def test_script_reports_to_its_run_and_to_those_nested_in_it(script, secured):
    run, results = script

    runs = Hub(secured.api).runs("归属")
    reported = next(item for item in runs.values() if item["id"] == run.pk)
    assert results["run"] == run.pk
    assert reported["metrics"] == {"loss": 1 / 3}
    assert reported["tags"]["team"] == "nlp"
    assert results["text"] == "done"
    assert runs["fold"]["id"] == results["fold"]
    assert runs["fold"]["metrics"] == {"loss": 0.5}
    assert set(results["found"]) == {run.pk, results["fold"]}


@pytest.mark.parametrize("action", ["other run", "other experiment", "registry"])
def test_script_is_refused_anything_else_with_a_sentence(script, action):
    run, results = script

    assert results[action]["code"] == "PERMISSION_DENIED"
    assert run.pk in results[action]["message"]
