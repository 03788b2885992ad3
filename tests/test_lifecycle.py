"""The full lifecycle of a run over HTTP, with real server, worker and database, and a restart."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.http import Api
from tests.up_process import STOP_SECONDS, UpProcess

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("walking")]
TIMEOUT_SECONDS = 60


def watch(api: Api, path: str, until: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not until(content := api.get(path).json):
        assert time.monotonic() < deadline, content
        time.sleep(0.1)
    return content


def test_create_watch_cancel_resume_tag_and_restart(
    up_at_walking_speed: UpProcess,
) -> None:
    up = up_at_walking_speed
    api = Api(up.base_url)

    # Create
    project = api.post("/projects", {"name": "中文摘要系统", "task_type": "文本摘要"}).json
    runs = f"/projects/{project['id']}/runs"
    run = api.post(runs, {"hyperparameters": {"max_steps": 4000, "save_steps": 20}}).json
    assert run["status"] == "排队中"

    # Watch
    watched = watch(api, f"{runs}/{run['id']}", lambda content: content["step"] > 50)
    assert watched["status"] == "运行中"
    assert watched["metrics"]["eval_rouge_l"] > 0
    assert api.get(f"{runs}/{run['id']}/logs?q=loss").json["total"] >= 4

    # Cancel
    cancelled = api.post(f"{runs}/{run['id']}/cancel")
    assert cancelled.status == 200
    assert cancelled.json["status"] == "已取消"
    [checkpoint] = cancelled.json["artifacts"]
    assert checkpoint["name"] == "取消前的检查点"

    # Resume
    resumed = api.post(f"{runs}/{run['id']}/resume?source_artifact_id={checkpoint['id']}")
    assert resumed.status == 201
    assert resumed.json["status"] == "运行中"
    assert resumed.json["progress"] == cancelled.json["progress"]
    progressed = watch(
        api,
        f"{runs}/{resumed.json['id']}",
        lambda content: content["step"] > cancelled.json["step"] + 20,
    )

    # Tag
    tagged = api.post(
        f"{runs}/{run['id']}/artifacts/{checkpoint['id']}/tag", {"tag": "发布", "notes": "复核"}
    )
    assert [tag["value"] for tag in tagged.json["tags"]] == ["发布"]

    # Restart: nothing is lost and the run continues
    assert up.stop() < STOP_SECONDS
    assert up.processes() == []
    up.start()
    after_restart = api.get(f"{runs}/{run['id']}").json
    assert {**after_restart, "updated_at": None} == {
        **{name: cancelled.json[name] for name in after_restart},
        "updated_at": None,
    }
    [kept] = api.get(f"{runs}/{run['id']}/artifacts?type=checkpoint&").json["items"][-1:]
    assert kept["tags"] == tagged.json["tags"]
    continued = watch(
        api,
        f"{runs}/{resumed.json['id']}",
        lambda content: content["step"] > progressed["step"] + 20,
    )
    assert continued["status"] == "运行中"
    api.post(f"{runs}/{resumed.json['id']}/cancel")
