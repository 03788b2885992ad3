"""REST and MLflow of releases that need approval, and of evaluations."""

import json

import pytest
from django.test import Client

from accounts.models import Token
from accounts.roles import Role
from registry.models import RegisteredModel, RunFile, Source
from registry.release_policy import change_policy
from registry.release_requests import ReleaseRequest
from runs.models import RecipeKind
from tests.factories import ProjectFactory, RecipeFactory, RunFactory, checkpoint, member_of

pytestmark = pytest.mark.django_db
GATES = [
    {"kind": "metric", "key": "mmlu/acc", "comparison": ">=", "threshold": 0.6},
    {"kind": "bytes", "within_days": 7},
    {"kind": "card", "fields": ["license", "datasets"]},
]


@pytest.fixture(autouse=True)
def require_sign_in(settings):
    settings.OPEN_MODE = False
    settings.LANGUAGE_CODE = "en"


@pytest.fixture
def project():
    project = ProjectFactory()
    change_policy(project, by=None, needs_approval=True)
    return project


@pytest.fixture
def artifact(project):
    return checkpoint(RunFactory(project=project), step=10)


class Caller:
    def __init__(self, user):
        self.user = user
        self._client = Client(
            headers={"authorization": f"Bearer {Token.issue(user)[1]}", "accept-language": "en"}
        )

    def call(self, method, path, body=None):
        return self._client.generic(
            method, path, json.dumps(body or {}), content_type="application/json"
        )

    def get(self, path):
        return self._client.get(path)

    def post(self, path, body=None):
        return self.call("POST", path, body)


def caller(project, role=Role.MEMBER):
    return Caller(member_of(project, role))


def of_artifact(artifact, what):
    run = artifact.run
    return f"/projects/{run.project_id}/runs/{run.pk}/artifacts/{artifact.pk}/{what}"


def error(response):
    return response.status_code, response.json()["errors"][0]["code"]


def test_tag_answers_202_with_the_request(project, artifact):
    member = caller(project)

    response = member.post(of_artifact(artifact, "tag"), {"tag": "发布", "notes": "通过复核"})

    assert response.status_code == 202
    told = response.json()
    assert told["checkpoint_id"] == artifact.pk
    assert (told["state"], told["notes"]) == ("asked", "通过复核")
    assert told["asked_by"] == member.user.username


def test_tag_is_as_the_contract_says_where_nothing_is_demanded():
    artifact = checkpoint(RunFactory())
    maintainer = caller(artifact.run.project, Role.MAINTAINER)

    response = maintainer.post(of_artifact(artifact, "tag"), {"tag": "发布", "notes": "好"})

    assert response.status_code == 200
    [tag] = response.json()["tags"]
    assert (tag["value"], tag["notes"]) == ("发布", "好")


def test_request_is_approved_by_another_maintainer(project, artifact):
    owner, maintainer = caller(project, Role.OWNER), caller(project, Role.MAINTAINER)
    path = f"/projects/{project.pk}/release-requests"
    asked = owner.post(path, {"checkpoint_id": artifact.pk, "notes": "please"})
    own = owner.post(f"{path}/{asked.json()['id']}/approve")

    response = maintainer.post(f"{path}/{asked.json()['id']}/approve", {"notes": "checked"})

    assert asked.status_code == 201
    assert error(own) == (403, "not_independent")
    assert response.status_code == 200
    assert response.json()["state"] == "approved"
    assert response.json()["decided_by"] == maintainer.user.username
    assert artifact.tags.get().notes == "please"


def test_requests_are_listed_by_state(project, artifact):
    member, path = caller(project), f"/projects/{project.pk}/release-requests"
    asked = member.post(path, {"checkpoint_id": artifact.pk}).json()
    member.post(f"{path}/{asked['id']}/withdraw", {"notes": "a bug"})
    again = member.post(path, {"checkpoint_id": artifact.pk}).json()

    assert [it["id"] for it in member.get(path).json()] == [again["id"], asked["id"]]
    [withdrawn] = member.get(f"{path}?state=withdrawn").json()
    assert (withdrawn["id"], withdrawn["decision_notes"]) == (asked["id"], "a bug")


def test_request_whose_checkpoint_is_gone_is_listed_as_expired(project, artifact):
    member, path = caller(project), f"/projects/{project.pk}/release-requests"
    asked = member.post(path, {"checkpoint_id": artifact.pk}).json()
    artifact.delete()

    assert member.get(f"{path}?state=asked").json() == []
    assert [it["id"] for it in member.get(f"{path}?state=expired").json()] == [asked["id"]]


def test_policy_is_set_by_owners(project):
    path = f"/projects/{project.pk}/release-policy"
    owner, maintainer = caller(project, Role.OWNER), caller(project, Role.MAINTAINER)

    refused = maintainer.call("PATCH", path, {"needs_approval": False})
    saved = owner.call("PATCH", path, {"gates": GATES})

    assert refused.status_code == 403
    assert saved.status_code == 200
    told = maintainer.get(path).json()
    assert (told["needs_approval"], told["gates"]) == (True, GATES)
    assert told["changed_by"] == owner.user.username


@pytest.mark.parametrize(
    "gate",
    [
        {"kind": "metric", "threshold": 1},
        {"kind": "metric", "key": "acc"},
        {"kind": "metric", "key": "acc", "threshold": "1"},
        {"kind": "card", "fields": []},
        {"kind": "card", "fields": ["colour"]},
        {"kind": "bytes", "within_days": -1},
        {"kind": "luck"},
    ],
)
def test_gate_that_means_nothing_is_refused(project, gate):
    owner = caller(project, Role.OWNER)

    response = owner.call("PATCH", f"/projects/{project.pk}/release-policy", {"gates": [gate]})

    assert response.status_code == 400


def test_gates_tell_what_is_missing(project, artifact):
    change_policy(project, by=None, gates=GATES)

    told = caller(project, Role.VIEWER).get(of_artifact(artifact, "gates")).json()["items"]

    assert [item["passed"] for item in told] == [False, True, False]
    assert told[0] == {
        "gate": "mmlu/acc >= 0.6",
        "passed": False,
        "why": "It has not been measured.",
    }
    assert told[2]["why"] == "It lacks license, datasets."


# --- MLflow ----------------------------------------------------------------------------------


@pytest.mark.parametrize("by_alias", [True, False])
def test_mlflow_is_told_that_a_request_was_recorded(project, artifact, by_alias):
    member = caller(project)
    model = RegisteredModel.objects.register("m", description="", tags={}, by=member.user)
    source = Source("", "", file=RunFile(artifact.run_id, artifact.file), run=artifact.run)
    model.add_version(source, run_link="", description="", tags={}, by=member.user)
    what = {"name": "m", "version": "1"}
    path = "/api/2.0/mlflow/model-versions/transition-stage"
    message = {**what, "stage": "Production"}
    if by_alias:
        path, message = "/api/2.0/mlflow/registered-models/alias", {**what, "alias": "released"}

    response = member.post(path, message)

    request = ReleaseRequest.objects.get()
    assert response.status_code == 403
    assert response.json()["error_code"] == "PERMISSION_DENIED"
    assert f"the request {request.pk} was recorded" in response.json()["message"]
    assert not artifact.tags.exists()


# --- evaluations -----------------------------------------------------------------------------


def test_checkpoint_is_evaluated(project, artifact):
    recipe = RecipeFactory(kind=RecipeKind.EVALUATION)
    body = {"recipe": recipe.pk, "hyperparameters": {"tasks": "mmlu"}}

    response = caller(project).post(of_artifact(artifact, "evaluate"), body)

    assert response.status_code == 201
    run = project.runs.get(pk=response.json()["id"])
    assert (run.resumed_from_id, run.hyperparameters) == (artifact.pk, {"tasks": "mmlu"})


def test_recipe_that_trains_does_not_evaluate(project, artifact):
    body = {"recipe": RecipeFactory().pk}

    response = caller(project).post(of_artifact(artifact, "evaluate"), body)

    assert error(response) == (400, "does_not_exist")


def test_rule_is_made_and_removed(project):
    maintainer, recipe = caller(project, Role.MAINTAINER), RecipeFactory(kind="evaluation")
    path = f"/projects/{project.pk}/evaluation-rules"

    made = maintainer.post(path, {"recipe": recipe.pk, "every": 3, "run_name": "llama"})
    listed = maintainer.get(path).json()
    removed = maintainer.call("DELETE", f"{path}/{made.json()['id']}")

    assert made.status_code == 201
    assert [(rule["recipe"], rule["every"]) for rule in listed] == [(recipe.pk, 3)]
    assert removed.status_code == 204
    assert maintainer.get(path).json() == []
