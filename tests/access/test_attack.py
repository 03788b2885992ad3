"""What one user tries on another's project: nothing is read, and nothing changes."""

import json

import pytest
from django.test import Client

from accounts.models import Token
from artifacts.models import Artifact
from projects.models import Project
from registry.models import RegisteredModel
from runs.models import Run, RunEvent
from tests.access.addresses import world
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

MLFLOW = "/api/2.0/mlflow"


@pytest.fixture(autouse=True)
def require_sign_in(settings):
    settings.OPEN_MODE = False


@pytest.fixture
def victim():
    return world()


@pytest.fixture
def attacker() -> Client:
    user = UserFactory()
    client = Client(headers={"Authorization": f"Bearer {Token.issue(user)[1]}"})
    client.force_login(user)
    return client


def attacks(victim):
    """(what, method, path, body)."""
    project = f"/projects/{victim.project.pk}"
    run = f"{project}/runs/{victim.run.pk}"
    checkpoint = f"{run}/artifacts/{victim.checkpoint.pk}"
    of_run, of_project = {"run_id": victim.run.pk}, {"experiment_id": victim.project.pk}
    model = {"name": victim.model.name}
    root = f"/api/2.0/mlflow-artifacts/artifacts/{victim.project.pk}/{victim.run.pk}/artifacts"
    return [
        ("read the project", "GET", project, None),
        ("rename the project", "PATCH", project, {"name": "mine"}),
        ("archive the project", "PATCH", project, {"status": "已归档"}),
        ("export the project", "GET", f"{project}/export", None),
        ("start a run", "POST", f"{project}/runs", {}),
        ("read the run", "GET", run, None),
        ("rename the run", "PATCH", run, {"name": "mine"}),
        ("read the log", "GET", f"{run}/logs", None),
        ("search the log", "GET", f"{run}/logs?q=Step", None),
        ("download the log", "GET", f"{run}/logs/download", None),
        ("read the metrics", "GET", f"{run}/metrics", None),
        ("write a metric", "POST", f"{run}/metrics", {"points": []}),
        ("export the run", "GET", f"{run}/export", None),
        ("cancel the run", "POST", f"{run}/cancel", {}),
        (
            "resume the run",
            "POST",
            f"{run}/resume?source_artifact_id={victim.checkpoint.pk}",
            {},
        ),
        ("release the checkpoint", "POST", f"{checkpoint}/tag", {"tag": "发布"}),
        ("download the checkpoint", "GET", f"{checkpoint}/download", None),
        ("read the lineage", "GET", f"/dashboard{run}/lineage", None),
        ("overwrite a file", "PUT", f"{run}/artifacts/files/notes.txt", {}),
        ("overwrite a file by MLflow", "PUT", f"{root}/notes.txt", {}),
        ("delete a file by MLflow", "DELETE", f"{root}/notes.txt", None),
        ("read a file by MLflow", "GET", f"{root}/notes.txt", None),
        ("read the run by MLflow", "GET", f"{MLFLOW}/runs/get?run_id={victim.run.pk}", None),
        ("rename the run by MLflow", "POST", f"{MLFLOW}/runs/update", {**of_run, "run_name": "x"}),
        ("delete the run by MLflow", "POST", f"{MLFLOW}/runs/delete", of_run),
        (
            "write a metric by MLflow",
            "POST",
            f"{MLFLOW}/runs/log-metric",
            {**of_run, "key": "loss", "value": 1.0, "timestamp": 1, "step": 99},
        ),
        (
            "rename the experiment",
            "POST",
            f"{MLFLOW}/experiments/update",
            {**of_project, "new_name": "mine"},
        ),
        ("delete the experiment", "POST", f"{MLFLOW}/experiments/delete", of_project),
        (
            "read the registered model",
            "GET",
            f"{MLFLOW}/registered-models/get?name={victim.model.name}",
            None,
        ),
        (
            "rename the registered model",
            "POST",
            f"{MLFLOW}/registered-models/rename",
            {**model, "new_name": "mine"},
        ),
        ("delete the registered model", "DELETE", f"{MLFLOW}/registered-models/delete", model),
        (
            "release the version",
            "POST",
            f"{MLFLOW}/model-versions/transition-stage",
            {**model, "version": "1", "stage": "Production"},
        ),
        (
            "take the alias",
            "POST",
            f"{MLFLOW}/registered-models/alias",
            {**model, "version": "1", "alias": "released"},
        ),
    ]


def state(victim) -> list:
    """All that the attacks are about."""
    return [
        list(rows.order_by("pk").values())
        for rows in (
            Project.objects.filter(pk=victim.project.pk),
            Run.objects.filter(project=victim.project),
            RunEvent.objects.filter(run__project=victim.project),
            Artifact.objects.filter(run__project=victim.project),
            RegisteredModel.objects.all(),
            victim.model.versions.all(),
            victim.model.aliases.all(),
        )
    ]


def test_stranger_is_refused_whatever_they_try(victim, attacker):
    before = state(victim)

    answers = {
        what: attacker.generic(
            method,
            path,
            "" if body is None else json.dumps(body),
            content_type="application/json",
        ).status_code
        for what, method, path, body in attacks(victim)
    }

    assert {what for what, code in answers.items() if code not in {403, 404}} == set()
    assert state(victim) == before


def test_stranger_cannot_take_a_checkpoint_into_a_model_of_their_own(victim, attacker):
    own = {"name": "own-model"}
    send(attacker, "registered-models/create", own)

    answer = send(
        attacker,
        "model-versions/create",
        {**own, "source": f"runs:/{victim.run.pk}/{victim.checkpoint.file}"},
    )
    send(attacker, "registered-models/alias", {**own, "version": "1", "alias": "released"})

    assert answer.status_code == 200  # as of a run of another server
    assert victim.project.pk not in answer.content.decode()
    assert not victim.checkpoint.tags.exists()


def send(client: Client, name: str, body: dict) -> object:
    return client.post(f"{MLFLOW}/{name}", json.dumps(body), content_type="application/json")
