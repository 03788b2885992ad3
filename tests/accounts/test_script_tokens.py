"""The token of a run's script: it works for its run alone, and ends with it."""

import json
from contextlib import closing
from datetime import timedelta

import pytest

from accounts.models import Token
from accounts.tokens import issue_script_token
from registry.logged_models import LoggedModel
from runs import attempts
from runs.models import Run, StopKind
from runs.status import RunStatus
from tests.factories import ProjectFactory, RecipeFactory, RunFactory, UserFactory, running

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def require_sign_in(settings):
    settings.OPEN_MODE = False


@pytest.fixture
def run():
    return running(recipe=RecipeFactory(), created_by=UserFactory())


@pytest.fixture
def other():
    """Another run of the same user, with all that a run may have."""
    project = ProjectFactory(name="elsewhere")
    run = RunFactory(
        project=project, created_by=UserFactory(), recipe=None, status=RunStatus.RUNNING
    )
    LoggedModel.objects.create(
        pk="m-" + "0" * 32, project=run.project, source_run=run, name="model"
    )
    return run


@pytest.fixture
def ask(client, run):
    """Ask with the token of the run's script."""
    token, digest = issue_script_token(run.created_by, run.pk, life=timedelta(days=1))
    run.change(script_tokens=[digest])

    def ask(method, path, body=None):
        content = None if body is None else json.dumps(body)
        return client.generic(
            method,
            path,
            content or b"",
            content_type="application/json",
            headers={"Authorization": f"Bearer {token}", "Accept-Language": "en"},
        )

    return ask


@pytest.fixture
def mlflow(ask):
    def call(method, name, body=None):
        return ask(method, f"/api/2.0/mlflow/{name}", body)

    return call


POINT = {"key": "loss", "value": 0.5, "timestamp": 1_700_000_000_000, "step": 1}


# --- its own run -----------------------------------------------------------------------------


def test_its_run_is_read_and_reported_by_the_api(ask, run):
    path = f"/projects/{run.project_id}/runs/{run.pk}"
    sent = {"metrics": {"loss": 0.5}, "step": 1}

    assert ask("GET", path).status_code == 200
    assert ask("GET", f"{path}/artifacts").status_code == 200
    assert ask("POST", f"{path}/metrics", {"items": [sent]}).status_code != 403
    assert ask("GET", f"{path}/metrics").status_code == 200
    assert ask("POST", f"{path}/logs", {"items": [{"message": "hello"}]}).status_code != 403


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("runs/log-metric", POINT),
        ("runs/log-batch", {"metrics": [POINT], "params": [{"key": "a", "value": "1"}]}),
        ("runs/log-parameter", {"key": "layers", "value": "12"}),
        ("runs/set-tag", {"key": "team", "value": "nlp"}),
        ("runs/update", {"run_name": "renamed"}),
        ("runs/log-inputs", {"datasets": []}),
        ("runs/outputs", {"models": []}),
        ("runs/search", {"experiment_ids": ["0"]}),
    ],
)
def test_its_run_is_reported_by_mlflows_protocol(mlflow, run, name, body):
    assert mlflow("POST", name, {"run_id": run.pk, **body}).status_code == 200


def test_what_clients_ask_for_when_they_start_is_answered(mlflow, ask, run):
    own = f"experiment_id={run.project_id}"

    assert mlflow("GET", f"runs/get?run_id={run.pk}").status_code == 200
    assert mlflow("GET", f"experiments/get?{own}").status_code == 200
    assert mlflow("GET", "experiments/get?experiment_id=0").json()["experiment"][
        "experiment_id"
    ] == (run.project_id)
    assert mlflow("GET", f"experiments/get-by-name?experiment_name={run.project.name}").json()
    assert mlflow("GET", f"metrics/get-history?run_id={run.pk}&metric_key=loss").status_code == 200
    assert mlflow("GET", f"artifacts/list?run_id={run.pk}").status_code == 200
    assert ask("GET", "/api/3.0/mlflow/server-info").status_code == 200
    assert ask("GET", "/version").status_code == 200


def test_its_files_are_sent_and_listed(ask, run):
    path = f"/api/2.0/mlflow-artifacts/artifacts/{run.project_id}/{run.pk}/artifacts/notes.txt"

    assert ask("PUT", path, "hello").status_code == 200
    with closing(ask("GET", path)) as answer:
        assert b"".join(answer.streaming_content) == b'"hello"'


def test_it_logs_models(mlflow, run):
    body = {"experiment_id": run.project_id, "source_run_id": run.pk, "name": "model"}
    model_id = mlflow("POST", "logged-models", body).json()["model"]["info"]["model_id"]
    measured = {**POINT, "run_id": run.pk, "model_id": model_id}

    assert mlflow("PATCH", f"logged-models/{model_id}", {"status": 2}).status_code == 200
    assert mlflow("POST", "runs/log-metric", measured).status_code == 200
    found = mlflow("POST", "logged-models/search", {"experiment_ids": [run.project_id]}).json()
    assert [model["info"]["model_id"] for model in found["models"]] == [model_id]


def test_it_creates_runs_nested_in_its_own_and_reports_them(mlflow, run):
    tags = [{"key": "mlflow.parentRunId", "value": run.pk}]
    answer = mlflow("POST", "runs/create", {"experiment_id": run.project_id, "tags": tags})
    nested = answer.json()["run"]["info"]["run_id"]

    assert mlflow("POST", "runs/log-metric", {"run_id": nested, **POINT}).status_code == 200
    found = mlflow("POST", "runs/search", {"experiment_ids": [run.project_id]}).json()["runs"]
    assert {item["info"]["run_id"] for item in found} == {run.pk, nested}


@pytest.mark.parametrize("tags", [[], [{"key": "mlflow.parentRunId", "value": "run_0000"}]])
def test_runs_that_are_not_nested_in_its_own_are_refused(mlflow, run, tags):
    answer = mlflow("POST", "runs/create", {"experiment_id": run.project_id, "tags": tags})

    assert answer.status_code == 403
    assert answer.json()["message"] == (
        "The script of a run may create only runs that are nested in its own."
    )


def test_run_nested_in_its_own_is_of_its_project(mlflow, run, other):
    tags = [{"key": "mlflow.parentRunId", "value": run.pk}]
    body = {"experiment_id": other.project_id, "tags": tags}

    assert mlflow("POST", "runs/create", body).status_code == 403


# --- anything else ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/projects"),
        ("POST", "/projects"),
        ("GET", "/projects/{project}"),
        ("PUT", "/projects/{project}"),
        ("GET", "/projects/{own_project}"),
        ("GET", "/projects/{project}/runs"),
        ("POST", "/projects/{own_project}/runs"),
        ("GET", "/projects/{project}/runs/{run}"),
        ("GET", "/projects/{project}/runs/{run}/events"),
        ("POST", "/projects/{project}/runs/{run}/metrics"),
        ("GET", "/projects/{project}/runs/{run}/metrics"),
        ("POST", "/projects/{project}/runs/{run}/logs"),
        ("GET", "/projects/{project}/runs/{run}/artifacts"),
        ("POST", "/projects/{project}/runs/{run}/cancel"),
        ("POST", "/projects/{own_project}/runs/{own}/resume"),
        ("POST", "/projects/{own_project}/runs/{own}/cancel"),
        ("POST", "/projects/{own_project}/runs/{own}/artifacts/ckpt_1/tag"),
        ("GET", "/projects/{project}/export"),
        ("GET", "/get-artifact?run_id={run}&path=x"),
        ("GET", "/recipes"),
    ],
)
def test_other_addresses_of_the_api_are_refused_with_a_sentence(ask, run, other, method, path):
    places = {"project": other.project_id, "run": other.pk}
    own = {"own_project": run.project_id, "own": run.pk}

    answer = ask(method, path.format(**places, **own), {} if method != "GET" else None)

    assert answer.status_code == 403
    assert answer.json()["errors"][0]["detail"] == (
        f"This token is for the run {run.pk} alone: it allows nothing else."
    )


@pytest.mark.parametrize(
    ("method", "name", "body"),
    [
        ("GET", "runs/get?run_id={run}", None),
        ("POST", "runs/update", {"run_id": "{run}", "status": "FAILED"}),
        ("POST", "runs/delete", {"run_id": "{own}"}),
        ("POST", "runs/restore", {"run_id": "{own}"}),
        ("POST", "runs/log-metric", {"run_id": "{run}", **POINT}),
        ("POST", "runs/log-metric", {"run_id": "{own}", "model_id": "{model}", **POINT}),
        ("POST", "runs/log-batch", {"run_id": "{run}", "metrics": [POINT]}),
        ("POST", "runs/log-parameter", {"run_id": "{run}", "key": "a", "value": "1"}),
        ("POST", "runs/set-tag", {"run_id": "{run}", "key": "a", "value": "1"}),
        ("POST", "runs/delete-tag", {"run_id": "{run}", "key": "a"}),
        ("POST", "runs/log-inputs", {"run_id": "{run}", "datasets": []}),
        ("POST", "runs/outputs", {"run_id": "{run}", "models": []}),
        ("GET", "metrics/get-history?run_id={run}&metric_key=loss", None),
        ("GET", "artifacts/list?run_id={run}", None),
        ("GET", "experiments/get?experiment_id={project}", None),
        ("POST", "experiments/create", {"name": "new"}),
        ("POST", "experiments/update", {"experiment_id": "{own_project}", "new_name": "x"}),
        ("POST", "experiments/delete", {"experiment_id": "{own_project}"}),
        ("POST", "logged-models", {"experiment_id": "{own_project}", "name": "m"}),
        ("POST", "logged-models", {"experiment_id": "{own_project}", "source_run_id": "{run}"}),
        ("GET", "logged-models/{model}", None),
        ("DELETE", "logged-models/{model}", {}),
        ("POST", "registered-models/create", {"name": "new"}),
        ("GET", "registered-models/search", None),
        ("POST", "model-versions/create", {"name": "new", "source": "runs:/{own}/model"}),
    ],
)
def test_the_rest_of_mlflows_protocol_is_refused_with_a_sentence(
    mlflow, run, other, method, name, body
):
    places = {"project": other.project_id, "run": other.pk, "model": "m-" + "0" * 32}
    places |= {"own_project": run.project_id, "own": run.pk}
    filled = json.dumps(body)
    for place, value in places.items():
        filled = filled.replace(f"{{{place}}}", value)

    answer = mlflow(method, name.format(**places), json.loads(filled))

    assert answer.status_code == 403
    assert answer.json() == {
        "error_code": "PERMISSION_DENIED",
        "message": f"This token is for the run {run.pk} alone: it allows nothing else.",
    }


def test_files_of_another_run_are_refused(ask, other):
    path = f"/api/2.0/mlflow-artifacts/artifacts/{other.project_id}/{other.pk}/artifacts/x"

    assert ask("PUT", path, "x").status_code == 403
    assert ask("GET", path).status_code == 403


def test_searches_find_its_own_run_alone(mlflow, run, other):
    both = [run.project_id, other.project_id]

    runs = mlflow("POST", "runs/search", {"experiment_ids": both}).json()["runs"]
    experiments = mlflow("POST", "experiments/search", {}).json()["experiments"]
    models = mlflow("POST", "logged-models/search", {"experiment_ids": both}).json()["models"]
    assert [item["info"]["run_id"] for item in runs] == [run.pk]
    assert [item["experiment_id"] for item in experiments] == [run.project_id]
    assert models == []


def test_experiment_of_another_name_is_not_found(mlflow, other):
    """So that a client says what it then may not do: create it."""
    name = other.project.name

    assert mlflow("GET", f"experiments/get-by-name?experiment_name={name}").status_code == 404


def test_token_cannot_be_made_to_name_another_run(client, run, other):
    token, _digest = issue_script_token(run.created_by, run.pk, life=timedelta(days=1))
    secret = token.partition(".")[0]

    for forged in (secret, f"{secret}.", f"{secret}.{other.pk}", f"{token}.{other.pk}"):
        answer = client.get("/projects", headers={"Authorization": f"Bearer {forged}"})
        assert answer.status_code == 401


def test_tokens_of_users_are_not_limited(client, other):
    other.project.roles.create(user=other.created_by)
    _stored, token = Token.issue(other.created_by)

    answer = client.get("/projects", headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 200
    assert len(answer.json()) == 1


# --- its end ---------------------------------------------------------------------------------


def held(run):
    return Run.objects.select_for_update().get(pk=run.pk)


@pytest.mark.parametrize(
    "end",
    [
        lambda run: held(run).transition(RunStatus.COMPLETED),
        lambda run: held(run).transition(RunStatus.FAILED),
        lambda run: (
            held(run).request_stop(StopKind.CANCEL, by=None),
            held(run).transition(RunStatus.CANCELLED),
        ),
        lambda run: attempts.recover(held(run), "The process died."),
        lambda run: attempts.continue_elsewhere(held(run), "The worker has lost its lease."),
        lambda run: attempts.release(held(run), run.worker, next_attempt=True),
    ],
    ids=["completed", "failed", "cancelled", "died", "lease lost", "released"],
)
def test_token_ends_with_the_work_of_its_run(ask, run, end):
    path = f"/projects/{run.project_id}/runs/{run.pk}"
    assert ask("GET", path).status_code == 200

    end(run)

    assert ask("GET", path).status_code == 401
    assert not Token.objects.exists()


def test_token_lives_on_while_the_worker_restarts(ask, run):
    attempts.release(held(run), run.worker, next_attempt=False)

    assert ask("GET", f"/projects/{run.project_id}/runs/{run.pk}").status_code == 200


def test_projects_with_the_same_name_are_told_apart(mlflow, run):
    ProjectFactory(name=run.project.name)

    found = mlflow("GET", f"experiments/get-by-name?experiment_name={run.project.name}").json()
    assert found["experiment"]["experiment_id"] == run.project_id


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/projects/{project}/runs/{run}/artifacts/files/{own}"),
        ("GET", "/projects/{project}/runs/{run}/artifacts/files/{own}"),
        ("GET", "/projects/{project}/runs/{run}/artifacts/{own}/download"),
        ("GET", "/projects/{own}/runs/{run}"),
        ("GET", "/projects/{own}"),
        ("GET", "/projects/{own}/runs"),
    ],
)
def test_name_of_its_run_elsewhere_in_an_address_opens_nothing(ask, run, other, method, path):
    address = path.format(project=other.project_id, run=other.pk, own=run.pk)

    assert ask(method, address, "x" if method == "PUT" else None).status_code in {403, 404}
    assert not other.artifacts.exists()
