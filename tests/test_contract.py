"""Sends the contract's example requests to a server and checks the responses against it."""

import pytest
from django.core.management import call_command

from tests.contract import Endpoint, differences, endpoints
from tests.http import Answer, Api

ENDPOINTS = endpoints()
pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@pytest.fixture
def api(live_server) -> Api:
    return Api(live_server.url)


def call(api: Api, title: str, query: str = "", **ids: str) -> Answer:
    endpoint = ENDPOINTS[title]
    return api.call(endpoint.method, endpoint.path.format(**ids) + query, endpoint.request)


def create_project(api: Api) -> dict[str, str]:
    return {"project_id": call(api, "创建项目").json["id"]}


def create_run(api: Api) -> dict[str, str]:
    ids = create_project(api)
    return {**ids, "run_id": call(api, "创建训练运行", **ids).json["id"]}


def run_some_steps(api: Api) -> dict[str, str]:
    ids = create_run(api)
    call_command("advance_runs", steps=120, verbosity=0)
    return ids


def with_checkpoint(api: Api) -> dict[str, str]:
    ids = run_some_steps(api)
    items = call(api, "列出运行工件", "?type=checkpoint", **ids).json["items"]
    return {**ids, "artifact_id": items[0]["id"]}


def assert_as_documented(endpoint: Endpoint, answer: Answer) -> None:
    assert answer.status == endpoint.status
    assert answer.headers["Content-Type"] == "application/json"
    assert differences(endpoint.response, answer.json) == []


def test_document_describes_ten_endpoints():
    assert len(ENDPOINTS) == 10


def test_create_project(api):
    answer = call(api, "创建项目")

    assert_as_documented(ENDPOINTS["创建项目"], answer)
    assert answer.json["runs"] == []


def test_list_projects(api):
    create_project(api)

    answer = call(api, "列出项目")

    assert_as_documented(ENDPOINTS["列出项目"], answer)


def test_get_project(api):
    ids = run_some_steps(api)

    answer = call(api, "获取项目详情", **ids)

    assert_as_documented(ENDPOINTS["获取项目详情"], answer)


def test_create_run(api):
    ids = create_project(api)

    answer = call(api, "创建训练运行", **ids)

    assert_as_documented(ENDPOINTS["创建训练运行"], answer)
    assert answer.json["artifacts"] == []


def test_get_run(api):
    ids = run_some_steps(api)

    answer = call(api, "获取运行详情", **ids)

    assert_as_documented(ENDPOINTS["获取运行详情"], answer)
    assert 0 <= answer.json["gpu_utilization"] <= 1


def test_cancel_run(api):
    ids = run_some_steps(api)

    answer = call(api, "取消运行", **ids)

    assert_as_documented(ENDPOINTS["取消运行"], answer)


def test_read_log(api):
    ids = run_some_steps(api)

    answer = call(api, "获取运行日志", "?q=loss=", **ids)

    assert_as_documented(ENDPOINTS["获取运行日志"], answer)
    assert (answer.json["page"], answer.json["page_size"]) == (1, 50)


def test_list_artifacts(api):
    ids = run_some_steps(api)

    items = call(api, "列出运行工件", **ids).json["items"]

    for example in ENDPOINTS["列出运行工件"].response["items"]:
        matches = [item for item in items if item["type"] == example["type"]]
        assert matches
        assert differences(example, matches[0]) == []


def test_resume_run(api):
    ids = with_checkpoint(api)

    answer = call(api, "恢复运行", f"?source_artifact_id={ids['artifact_id']}", **ids)

    # The names in the document are those of the first and second run.
    assert_as_documented(ENDPOINTS["恢复运行"], answer)
    assert answer.json["resumed_from"] == ids["artifact_id"]
    assert answer.json["artifacts"] == []


def test_tag_artifact(api):
    ids = with_checkpoint(api)

    answer = call(api, "为工件打标签", **ids)

    assert_as_documented(ENDPOINTS["为工件打标签"], answer)
