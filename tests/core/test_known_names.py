"""What endpoints do not know is refused by name: fields of bodies, parameters, formats."""

from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator

from notices.actions import send_test
from tests.clients import ApiClient
from tests.code_bundles.bundles import bundle
from tests.execution.mirror.attempts import begin_on_nodes
from tests.factories import ProjectFactory, RunFactory, UserFactory, WebhookFactory, checkpoint

pytestmark = pytest.mark.django_db
OWN_FORMAT = ("export",)  # tests/metrics/test_exports.py

POINT = {"key": "a", "step": 1, "value": 1, "timestamp": "2024-01-01T00:00:00Z"}
LINE = {"message": "m"}


@pytest.fixture
def client() -> ApiClient:
    return ApiClient()


def operations(*methods: str) -> list[tuple[str, str]]:
    schema = SchemaGenerator().get_schema(public=True)
    return [
        (method, path)
        for path, item in schema["paths"].items()
        for method in item
        if method in methods and path.startswith(("/projects", "/recipes"))
    ]


def address(path: str) -> str:
    """``path`` with the ids of rows that are there."""
    artifact = checkpoint(RunFactory())
    ids = {"project_id": artifact.run.project_id, "run_id": artifact.run_id, "path": "a.txt"}
    if "{username}" in path:
        ids["username"] = UserFactory().username
    if path.startswith("/projects/{id}"):
        ids["id"] = artifact.run.project_id
    else:
        ids["id"] = artifact.pk if "/artifacts/{id}" in path else artifact.run_id
    if "{sha256}" in path:
        ids["sha256"] = bundle({"train.py": ""}).pk
    if "{number}" in path:
        begin_on_nodes(artifact.run)
        ids |= {"number": "1", "rank": "0"}
    if "{delivery_id}" in path:
        hook = WebhookFactory(project=artifact.run.project)
        ids |= {"id": hook.pk, "delivery_id": send_test(hook).pk}
    return path.format(**ids)


def errors(response: Any) -> dict[str, str]:
    assert response.status_code == 400, response.content
    return {error["attr"]: error["detail"] for error in response.json()["errors"]}


@pytest.mark.parametrize(("method", "path"), operations("get", "post", "put", "patch"))
def test_unknown_parameter_is_refused_by_name(client, method, path):
    response = client.generic(method.upper(), f"{address(path)}?statuss=1")

    assert "statuss" in errors(response)["statuss"]


@pytest.mark.parametrize(
    "path", [path for _, path in operations("get") if not path.endswith(OWN_FORMAT)]
)
@pytest.mark.parametrize("unknown", ["csv", "xml"])
def test_unknown_format_is_refused(client, path, unknown):
    response = client.get(f"{address(path)}?format={unknown}")

    assert list(errors(response)) == ["format"]


@pytest.mark.parametrize("known", ["json", ""])
def test_known_format_is_taken(client, known):
    assert client.get(f"{address('/projects/{id}')}?format={known}").status_code == 200


def test_error_names_the_known_parameters(client):
    found = errors(client.get("/projects?sizze=1"))

    assert "page, page_size" in found["sizze"]


def test_error_names_each_known_parameter_once(client):
    run = RunFactory()

    found = errors(client.get(f"/projects/{run.project_id}/runs/{run.pk}/metrics?keyz=a"))

    assert found["keyz"].count("page_size") == 1


@pytest.mark.parametrize(
    ("path", "body", "attr"),
    [
        ("/projects", {"name": "p", "ownr": "小李"}, "ownr"),
        ("/projects/{project}/runs", {"learning_rat": 1}, "learning_rat"),
        ("/projects/{project}/runs", {"code": {"sha": 1}}, "code.sha"),
        ("/projects/{project}/runs", {"resources": {"gpus": 1}}, "resources.gpus"),
        ("/projects/{project}/runs/{run}/artifacts/{artifact}/tag", {"tag": "候选", "x": 1}, "x"),
        ("/projects/{project}/runs/{run}/resume?source_artifact_id={artifact}", {"a": 1}, "a"),
        ("/projects/{project}/runs/{run}/cancel", {"keep": False}, "keep"),
        ("/projects/{project}/runs/{run}/logs", {"lines": [LINE | {"lvl": 1}]}, "lines.0.lvl"),
        ("/projects/{project}/runs/{run}/logs", {"lines": [LINE], "b": 1}, "b"),
        ("/projects/{project}/runs/{run}/metrics", {"points": [POINT | {"s": 1}]}, "points.0.s"),
    ],
)
def test_unknown_field_is_refused_by_name(client, path, body, attr):
    artifact = checkpoint(RunFactory())
    run = artifact.run

    response = client.post_json(
        path.format(project=run.project_id, run=run.pk, artifact=artifact.pk), body
    )

    assert attr.rpartition(".")[2] in errors(response)[attr]


def test_hyperparameters_are_free(client):
    project = ProjectFactory()

    response = client.post_json(
        f"/projects/{project.pk}/runs", {"hyperparameters": {"anything": {"at": "all"}}}
    )

    assert response.status_code == 201


def test_detail_is_sent_back_with_a_change(client):
    path = f"/projects/{ProjectFactory().pk}"
    detail = client.get(path).json()

    response = client.patch_json(path, {**detail, "owner": "小王", "run_count": 9})

    assert (response.status_code, response.json()["owner"]) == (200, "小王")
    assert response.json()["run_count"] == detail["run_count"]


def test_detail_with_a_misspelt_change_is_refused(client):
    path = f"/projects/{ProjectFactory().pk}"

    assert "ownr" in errors(client.patch_json(path, {**client.get(path).json(), "ownr": "小王"}))
