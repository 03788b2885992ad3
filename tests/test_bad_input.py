"""Invalid input gets a 4xx with the reason, in the standard shape, and creates no rows."""

import json

import pytest
from django.test import Client
from django.utils import timezone

from projects.models import Project
from runs.models import Run, RunEvent
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory

pytestmark = pytest.mark.django_db
NUL = "\x00"


@pytest.fixture
def client() -> Client:
    return Client(SERVER_NAME="localhost", raise_request_exception=False)


def post(client: Client, path: str, body: object, **headers: str):
    data = body if isinstance(body, (bytes, str)) else json.dumps(body)
    return client.post(path, data, content_type="application/json", headers=headers)


def assert_error(response, status: int, attr: str | None = None) -> None:
    assert response.status_code == status, response.content
    content = response.json()
    assert content["type"] in {"validation_error", "client_error"}
    assert content["errors"]
    for error in content["errors"]:
        assert set(error) == {"code", "detail", "attr"}
        assert error["detail"]
    if attr is not None:
        assert attr in [error["attr"] for error in content["errors"]]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"\xff\xfe",
        b"[]",
        b'"text"',
        b"null",
        b'{"name": NaN}',
        b'{"name": "a", "default_hyperparameters": {"x": NaN}}',
        b'{"name": "a", "default_hyperparameters": {"x": 1e999}}',
        b'{"name": "a", "default_hyperparameters": {"x": Infinity}}',
        b'{"name": "\\ud800"}',
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"[" * 900 + b"]" * 900,
    ],
)
def test_invalid_json_creates_no_project(client, body):
    response = post(client, "/projects", body)

    assert_error(response, 400)
    assert not Project.objects.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", " "),
        ("name", None),
        ("name", 123),
        ("name", ["a"]),
        ("name", {"a": 1}),
        ("name", "a" * 201),
        ("name", f"a{NUL}b"),
        ("description", 1.5),
        ("objective", "x" * 10_001),
        ("tags", "tag"),
        ("tags", [1]),
        ("tags", ["x" * 65]),
        ("tags", [f"{NUL}"]),
        ("tags", ["t"] * 51),
        ("default_hyperparameters", []),
        ("default_hyperparameters", "x"),
        ("default_hyperparameters", {"learning_rate": "fast"}),
        ("default_hyperparameters", {"learning_rate": -1}),
        ("default_hyperparameters", {"batch_size": 0}),
        ("default_hyperparameters", {"batch_size": 1.5}),
        ("default_hyperparameters", {"batch_size": True}),
        ("default_hyperparameters", {"max_steps": 10**30}),
        ("default_hyperparameters", {"a": json.loads("[" * 500 + "]" * 500)}),
        ("default_hyperparameters", {"": 1}),
        ("default_hyperparameters", {"a" * 251: 1}),
        ("default_hyperparameters", {f"a{NUL}": 1}),
        ("default_hyperparameters", {"a": f"{NUL}"}),
        ("default_hyperparameters", {"a": "x" * 70_000}),
    ],
)
def test_error_names_the_invalid_project_field(client, field, value):
    response = post(client, "/projects", {"name": "ok", field: value})

    assert response.status_code == 400, response.content
    attrs = [str(error["attr"]) for error in response.json()["errors"]]
    # A 64-bit overflow is a parse error, so there is no field to name.
    assert attrs == ["None"] or all(attr.split(".")[0] == field for attr in attrs)
    assert not Project.objects.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ["x"]),
        ("name", "x" * 10_000),
        ("model", 7),
        ("dataset", {"a": 1}),
        ("hyperparameters", 3),
        ("hyperparameters", {"num_epochs": -3}),
        ("hyperparameters", {"seed": -1}),
        ("resources", "A100"),
        ("resources", {"gpu_count": -4}),
        ("resources", {"gpu_count": "4"}),
        ("resources", {"gpu_count": 10**9}),
        ("resources", {"gpu_type": 100}),
        ("resources", {"gpu_type": f"{NUL}"}),
        ("recipe", "no-such-recipe"),
        ("recipe", f"{NUL}"),
        ("recipe", ["simulated"]),
        ("priority", "high"),
        ("priority", 101),
    ],
)
def test_error_names_the_invalid_run_field_and_uses_no_run_number(client, field, value):
    project = ProjectFactory.create()

    response = post(client, f"/projects/{project.pk}/runs", {field: value})

    assert response.status_code == 400, response.content
    attrs = [error["attr"].split(".")[0] for error in response.json()["errors"]]
    assert set(attrs) == {field}
    assert not Run.objects.exists()
    project.refresh_from_db()
    assert project.run_count == 0


def test_body_of_ten_megabytes_is_413(client):
    response = post(client, "/projects", {"name": "x" * 10_000_000})

    assert_error(response, 413)
    assert not Project.objects.exists()


@pytest.mark.parametrize(
    "path",
    [
        "/projects/proj_unknown",
        "/projects/proj_unknown/runs",
        "/projects/proj_unknown/release-requests",
        "/projects/proj_unknown/evaluation-rules",
        "/projects/proj_unknown/checkpoint-deletions",
        "/projects/proj_unknown/webhooks",
        "/projects/%00",
        "/projects/" + "x" * 3000,
        "/projects/../../etc/passwd",
        "/projects/proj_unknown/runs/run_unknown/logs",
        "/projects/proj_unknown/runs/run_unknown/artifacts",
        "/no/such/path",
        "/projects/",
    ],
)
def test_unknown_url_is_404(client, path):
    response = client.get(path)

    assert_error(response, 404)


def test_run_of_another_project_is_404(client):
    run = RunFactory.create()
    other = ProjectFactory.create()

    response = client.get(f"/projects/{other.pk}/runs/{run.pk}")

    assert_error(response, 404)


@pytest.mark.parametrize(("method", "path"), [("delete", "/projects"), ("put", "/projects/x")])
def test_wrong_method_is_405_with_allowed_methods(client, method, path):
    response = getattr(client, method)(path)

    assert_error(response, 405)
    assert response.headers["Allow"]


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "x"])
def test_wrong_media_type_is_415(client, media_type):
    response = client.post("/projects", b'{"name": "a"}', content_type=media_type)

    assert_error(response, 415)
    assert not Project.objects.exists()


def test_unsupported_accept_header_is_406(client):
    response = client.get("/projects", headers={"Accept": "image/png"})

    assert_error(response, 406)


@pytest.mark.parametrize(
    ("query", "attr"),
    [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=x", "page"),
        ("page=1.5", "page"),
        ("page=99999999999999999999999", "page"),
        ("page=", "page"),
        ("page_size=0", "page_size"),
        ("page_size=501", "page_size"),
        ("start_time=yesterday", "start_time"),
        ("start_time=2024-01-02", "start_time"),
        ("start_time=2024-01-02T10:00:00", "start_time"),
        ("end_time=2024-13-02T10:00:00Z", "end_time"),
        ("end_time=0001-01-01T00:00:00%2B23:59", "end_time"),
        ("level=LOUD", "level"),
        ("q=%00", "q"),
        ("regex=%00", "regex"),
        ("regex=(", "regex"),
        ("rank=-1", "rank"),
        ("after_seq=x", "after_seq"),
        ("order=up", "order"),
    ],
)
def test_error_names_the_invalid_log_parameter(client, query, attr):
    run = RunFactory.create()

    response = client.get(f"/projects/{run.project_id}/runs/{run.pk}/logs?{query}")

    assert_error(response, 400, attr)


BAD_PAGES = ["page=0", "page=x", "page_size=501", "page_size=0", "page=99999999999999999999"]


@pytest.mark.parametrize("query", BAD_PAGES)
def test_error_names_the_invalid_project_page_parameter(client, query):
    response = client.get(f"/projects?{query}")

    assert_error(response, 400, query.partition("=")[0])


@pytest.mark.parametrize("query", BAD_PAGES)
def test_error_names_the_invalid_artifact_page_parameter(client, query):
    run = RunFactory.create()

    response = client.get(f"/projects/{run.project_id}/runs/{run.pk}/artifacts?{query}")

    assert_error(response, 400, query.partition("=")[0])


@pytest.mark.parametrize(
    "query",
    ["status=running", "tag=best", "sort=magic", "created_after=noon", "model=%00", "name=%00"],
)
def test_error_names_the_invalid_run_filter(client, query):
    project = ProjectFactory.create()

    response = client.get(f"/projects/{project.pk}/runs?{query}")

    assert_error(response, 400, query.partition("=")[0])


@pytest.mark.parametrize("query", ["", "?source_artifact_id=", "?source_artifact_id=%00"])
def test_resume_without_a_source_is_400(client, query):
    run = RunFactory.create()

    response = post(client, f"/projects/{run.project_id}/runs/{run.pk}/resume{query}", {})

    assert_error(response, 400, "source_artifact_id")
    assert Run.objects.count() == 1


def test_resume_from_an_unknown_artifact_is_404(client):
    run = RunFactory.create()

    response = post(
        client, f"/projects/{run.project_id}/runs/{run.pk}/resume?source_artifact_id=ckpt_no", {}
    )

    assert_error(response, 404)
    assert Run.objects.count() == 1


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED])
def test_cancel_of_a_finished_run_is_409_and_records_no_event(client, status):
    run = RunFactory.create(status=status, finished_at=timezone.now())

    response = post(client, f"/projects/{run.project_id}/runs/{run.pk}/cancel", {})

    assert_error(response, 409)
    assert not RunEvent.objects.exists()


@pytest.mark.parametrize(
    ("language", "detail"),
    [("zh-CN", "该字段是必填项。"), ("en", "This field is required."), ("fr", "该字段是必填项。")],
)
def test_error_is_in_the_requested_language(client, language, detail):
    response = post(client, "/projects", {}, **{"Accept-Language": language})

    assert response.json()["errors"][0]["detail"] == detail


@pytest.mark.parametrize("time", ["2024-01-01T00:00:00%2B19:39", "2024-01-01T00:00:00-23:59"])
@pytest.mark.parametrize(
    "address",
    [
        "/projects/{run.project_id}/runs?created_after={time}",
        "/projects/{run.project_id}/runs/{run.pk}/logs?start_time={time}",
        "/dashboard/projects/{run.project_id}?created_before={time}",
        "/dashboard/projects/{run.project_id}/runs/{run.pk}/log?end_time={time}",
    ],
)
def test_time_zone_unknown_to_postgresql_is_accepted(client, address, time):
    assert client.get(address.format(run=RunFactory.create(), time=time)).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "created_after=0001-01-01T00:00:00%2B14:00",
        "created_before=9999-12-31T23:59:59-14:00",
        "created_after=1969-12-31T23:59:59Z",
    ],
)
def test_time_out_of_range_is_refused(client, query):
    run = RunFactory.create()
    of_log = query.replace("created_after", "start_time").replace("created_before", "end_time")

    assert_error(client.get(f"/projects/{run.project_id}/runs?{query}"), 400)
    assert_error(client.get(f"/projects/{run.project_id}/runs/{run.pk}/logs?{of_log}"), 400)
    # A page ignores the filter.
    assert client.get(f"/dashboard/projects/{run.project_id}?{query}").status_code == 200


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("null", "请求体必须是 JSON 对象，不能是 null。"),
        ({"name": NUL}, "不允许包含 NUL 字符。"),
    ],
)
def test_error_not_translated_by_django_or_drf_is_in_chinese(client, body, detail):
    response = post(client, "/projects", body)

    assert response.json()["errors"][0]["detail"] == detail


@pytest.mark.parametrize(
    ("language", "detail"),
    [
        ("zh-CN", "运行已结束（已完成），无法取消。"),
        ("en", "The run has ended (Completed): it cannot be cancelled."),
    ],
)
def test_status_in_an_error_is_in_the_requested_language(client, language, detail):
    run = RunFactory.create(status=RunStatus.COMPLETED, finished_at=timezone.now())
    path = f"/projects/{run.project_id}/runs/{run.pk}/cancel"

    response = post(client, path, {}, **{"Accept-Language": language})

    assert response.json()["errors"][0]["detail"] == detail


def test_unknown_host_name_is_400(client):
    response = client.get("/projects", headers={"Host": "evil.example"})

    assert_error(response, 400)
