"""The API endpoints for artifacts: list, download and tag."""

import hashlib
import io

import pytest
from django.core.management import call_command

from artifacts import uploads
from artifacts.models import Artifact
from runs.actions import create_run
from runs.models import Run
from tests.clients import ApiClient
from tests.factories import ProjectFactory, RunFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> ApiClient:
    return ApiClient()


@pytest.fixture
def run() -> Run:
    run = create_run(ProjectFactory.create(), by=None, hyperparameters={"max_steps": 300})
    call_command("advance_runs", steps=120, verbosity=0)
    run.refresh_from_db()
    return run


def url(run: Run, rest: str = "") -> str:
    return f"/projects/{run.project_id}/runs/{run.pk}/artifacts{rest}"


def body(response) -> bytes:
    return b"".join(response.streaming_content)


def test_list_contains_every_type_with_correct_sizes_and_checksums(client, run):
    items = client.get(url(run)).json()["items"]

    assert {item["type"] for item in items} == {"checkpoint", "event", "evaluation", "config"}
    for item in items:
        content = body(client.get(url(run, f"/{item['id']}/download")))
        assert len(content) == item["size_bytes"]
        assert hashlib.sha256(content).hexdigest() == item["sha256"]


def test_id_prefix_indicates_type(client, run):
    prefixes = {
        item["type"]: item["id"].partition("_")[0] for item in client.get(url(run)).json()["items"]
    }

    assert prefixes == {
        "checkpoint": "ckpt",
        "event": "log",
        "evaluation": "eval",
        "config": "conf",
    }


def test_type_filter(client, run):
    items = client.get(url(run, "?type=config")).json()["items"]

    assert [item["name"] for item in items] == ["配置文件"]


def test_unknown_type_is_rejected(client, run):
    response = client.get(url(run, "?type=weights"))

    assert response.status_code == 400
    assert response.json()["errors"][0]["attr"] == "type"


def store_files(run: Run, count: int) -> list[str]:
    """Upload files; returns their ids in upload order."""
    files = [uploads.store(run, f"{number}.txt", io.BytesIO(b"x"))[0] for number in range(count)]
    return [file.pk for file in files]


def ids_of(response) -> list[str]:
    return [item["id"] for item in response.json()["items"]]


def test_list_without_page_is_complete_and_has_no_pagination_headers(client):
    run = RunFactory()
    ids = store_files(run, 60)

    response = client.get(url(run))

    assert ids_of(response) == ids
    assert "Link" not in response.headers
    assert "X-Total-Count" not in response.headers


def test_paginated_list_has_pagination_headers(client):
    run = RunFactory()
    ids = store_files(run, 5)

    response = client.get(url(run, "?page=2&page_size=2"))

    assert ids_of(response) == ids[2:4]
    assert response.headers["X-Total-Count"] == "5"
    assert 'page=3&page_size=2>; rel="next"' in response.headers["Link"]


def test_page_past_the_end_is_empty(client):
    run = RunFactory()
    store_files(run, 2)

    response = client.get(url(run, "?page=9&page_size=2"))

    assert ids_of(response) == []
    assert response.headers["X-Total-Count"] == "2"


def test_pagination_respects_type_filter(client, run):
    store_files(run, 2)

    response = client.get(url(run, "?type=file&page=2&page_size=1"))

    assert [item["name"] for item in response.json()["items"]] == ["1.txt"]
    assert response.headers["X-Total-Count"] == "2"
    assert "type=file" in response.headers["Link"]


@pytest.mark.parametrize(
    ("header", "first", "end"),
    [("bytes=0-9", 0, 10), ("bytes=10-", 10, None), ("bytes=-5", -5, None)],
)
def test_range_returns_requested_part(client, run, header, first, end):
    checkpoint = run.artifacts.checkpoints().get()
    whole = body(client.get(url(run, f"/{checkpoint.pk}/download")))

    response = client.get(url(run, f"/{checkpoint.pk}/download"), headers={"Range": header})

    assert response.status_code == 206
    assert body(response) == whole[first:end]
    assert response.headers["Content-Range"].endswith(f"/{len(whole)}")


def test_range_past_the_end_is_416(client, run):
    checkpoint = run.artifacts.checkpoints().get()

    response = client.get(
        url(run, f"/{checkpoint.pk}/download"), headers={"Range": "bytes=99999999-"}
    )

    assert response.status_code == 416
    assert response.headers["Content-Range"] == f"bytes */{checkpoint.size_bytes}"
    assert response.headers["Content-Type"] == "application/json"
    assert response.json()["type"] == "client_error"
    assert response.json()["errors"][0]["code"] == "range_not_satisfiable"


@pytest.mark.parametrize("header", ["bytes=5-2", "lines=1-2", "bytes=0-1,4-5", "bytes=x"])
def test_unsupported_range_returns_whole_file(client, run, header):
    checkpoint = run.artifacts.checkpoints().get()

    response = client.get(url(run, f"/{checkpoint.pk}/download"), headers={"Range": header})

    assert response.status_code == 200
    assert len(body(response)) == checkpoint.size_bytes


def test_range_with_outdated_if_range_returns_whole_file(client, run):
    checkpoint = run.artifacts.checkpoints().get()
    headers = {"Range": "bytes=0-9", "If-Range": '"an outdated checksum"'}

    response = client.get(url(run, f"/{checkpoint.pk}/download"), headers=headers)

    assert response.status_code == 200
    assert len(body(response)) == checkpoint.size_bytes


def test_client_that_has_the_file_is_told_so(client, run):
    checkpoint = run.artifacts.checkpoints().get()
    etag = f'"{checkpoint.sha256}"'

    response = client.get(
        url(run, f"/{checkpoint.pk}/download"),
        headers={"If-None-Match": etag, "Range": "bytes=0-9"},
    )

    assert response.status_code == 304
    assert response.headers["ETag"] == etag


def test_download_of_another_version_than_required_is_refused(client, run):
    checkpoint = run.artifacts.checkpoints().get()

    response = client.get(
        url(run, f"/{checkpoint.pk}/download"), headers={"If-Match": '"an outdated checksum"'}
    )

    assert response.status_code == 412


def test_download_of_the_required_version_may_be_a_range(client, run):
    checkpoint = run.artifacts.checkpoints().get()
    headers = {"If-Match": f'"{checkpoint.sha256}"', "Range": "bytes=0-9"}

    response = client.get(url(run, f"/{checkpoint.pk}/download"), headers=headers)

    assert response.status_code == 206
    assert len(body(response)) == 10


def test_missing_bytes_are_404(client, run):
    checkpoint = run.artifacts.checkpoints().get()
    Artifact.objects.filter(pk=checkpoint.pk).update(file="gone.pt")

    response = client.get(url(run, f"/{checkpoint.pk}/download"))

    assert response.status_code == 404


def test_tag_appears_in_list(client, run):
    checkpoint = run.artifacts.checkpoints().get()

    client.post_json(url(run, f"/{checkpoint.pk}/tag"), {"tag": "候选", "notes": "复核中"})

    items = client.get(url(run, "?type=checkpoint")).json()["items"]
    assert [(tag["value"], tag["notes"]) for tag in items[0]["tags"]] == [("候选", "复核中")]


def test_same_tag_again_updates_its_notes(client, run):
    checkpoint = run.artifacts.checkpoints().get()
    client.post_json(url(run, f"/{checkpoint.pk}/tag"), {"tag": "发布", "notes": "first"})

    content = client.post_json(
        url(run, f"/{checkpoint.pk}/tag"), {"tag": "发布", "notes": "second"}
    ).json()

    assert [(tag["value"], tag["notes"]) for tag in content["tags"]] == [("发布", "second")]


def test_only_checkpoints_can_be_tagged(client, run):
    config = run.artifacts.get(type="config")

    response = client.post_json(url(run, f"/{config.pk}/tag"), {"tag": "发布"})

    assert response.status_code == 400
    assert not config.tags.exists()


@pytest.mark.parametrize("tag", ["best", "", None, 1])
def test_unknown_tag_is_rejected(client, run, tag):
    checkpoint = run.artifacts.checkpoints().get()

    response = client.post_json(url(run, f"/{checkpoint.pk}/tag"), {"tag": tag})

    assert response.status_code == 400
    assert response.json()["errors"][0]["attr"] == "tag"


def test_artifact_of_another_run_is_404(client, run):
    other = create_run(run.project, by=None)
    checkpoint = run.artifacts.checkpoints().get()

    response = client.get(url(other, f"/{checkpoint.pk}/download"))

    assert response.status_code == 404
