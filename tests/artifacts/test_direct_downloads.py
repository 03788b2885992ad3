"""Downloads whose bytes come from S3, for clients that prefer that."""

import io
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from accounts.roles import Role
from artifacts import direct_downloads, storing, uploads
from artifacts.storage import artifact_storage
from tests.clients import ApiClient
from tests.factories import RunFactory, member_of

pytestmark = pytest.mark.django_db

CONTENT = b"<script>alert(1)</script>" + bytes(1000)
PREFER = {"Prefer": "direct"}


@pytest.fixture(autouse=True)
def direct(s3, settings):
    settings.S3_DIRECT = True
    return s3


@pytest.fixture
def run():
    return RunFactory()


@pytest.fixture
def artifact(run):
    return uploads.store(run, "plots/报告 1.html", io.BytesIO(CONTENT))[0]


def address(artifact, *, by_path=False):
    run = artifact.run
    name = f"files/{artifact.file}" if by_path else f"{artifact.pk}/download"
    return f"/projects/{run.project_id}/runs/{run.pk}/artifacts/{name}"


def get(artifact, client=None, *, by_path=False, **headers):
    headers = {**PREFER, **headers}
    return (client or ApiClient()).get(address(artifact, by_path=by_path), headers=headers)


def body(response):
    return b"".join(response.streaming_content)


def fetch(response, **headers):
    return httpx.get(response["Location"], headers=headers, trust_env=False)


@pytest.mark.parametrize("by_path", [False, True])
def test_client_that_prefers_it_is_sent_to_s3(artifact, asked, by_path):
    asked.clear()

    response = get(artifact, by_path=by_path)

    assert response.status_code == 302
    assert response["Preference-Applied"] == "direct"
    assert (response["Cache-Control"], response["Vary"]) == ("no-store", "Prefer")
    assert asked == []
    assert fetch(response).content == CONTENT


def test_range_is_fetched_from_s3(artifact):
    part = fetch(get(artifact), Range="bytes=10-19")

    assert (part.status_code, part.content) == (206, CONTENT[10:20])


def test_file_comes_as_an_attachment_that_is_not_shown(artifact):
    """Whatever it is: S3's address is none of TrainHub's pages, and no page of S3's."""
    answer = fetch(get(artifact))

    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment; filename*=utf-8''")


def test_url_is_valid_for_minutes(artifact):
    query = parse_qs(urlsplit(get(artifact)["Location"]).query)

    assert query["X-Amz-Expires"] == ["300"]
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]


def test_own_artifacts_are_fetched_too(run):
    artifact = storing.store_checkpoint(run, io.BytesIO(CONTENT), step=1, suffix=".pt")

    assert fetch(get(artifact)).content == CONTENT


@pytest.mark.parametrize("why", ["no preference", "another preference", "off", "files", "head"])
def test_others_get_the_bytes_from_the_server(run, settings, tmp_path, why):
    if why == "files":
        settings.STORAGES = {
            **settings.STORAGES,
            "artifacts": {
                "BACKEND": "artifacts.storage.DurableFileSystemStorage",
                "OPTIONS": {"location": str(tmp_path)},
            },
        }
    settings.S3_DIRECT = why != "off"
    artifact = uploads.store(run, "a", io.BytesIO(CONTENT))[0]
    prefer = {"no preference": "", "another preference": "respond-async, indirect"}
    headers = {"Prefer": prefer.get(why, "direct")}

    ask = ApiClient().head if why == "head" else ApiClient().get
    response = ask(address(artifact), headers=headers)

    assert response.status_code == 200
    assert body(response) == (b"" if why == "head" else CONTENT)


def test_preview_never_leaves_the_server(artifact):
    run = artifact.run
    raw = f"/dashboard/projects/{run.project_id}/runs/{run.pk}/artifacts/{artifact.pk}/raw"

    response = ApiClient().get(raw, headers=PREFER)

    assert body(response) == CONTENT
    assert response["Content-Security-Policy"].startswith("sandbox")


def test_file_that_the_client_has_is_not_sent_again(artifact):
    response = get(artifact, **{"If-None-Match": f'"{artifact.sha256}"'})

    assert response.status_code == 304


def test_stranger_gets_no_url(artifact, settings):
    settings.OPEN_MODE = False
    viewer, stranger = ApiClient(), ApiClient()
    viewer.force_login(member_of(artifact.run.project, Role.VIEWER))
    stranger.force_login(member_of(RunFactory().project))

    assert get(artifact, viewer).status_code == 302
    assert get(artifact, stranger).status_code == 404


def test_url_leads_to_the_address_that_clients_know(artifact, settings):
    settings.S3_PUBLIC_ENDPOINT = "https://s3.example.org"
    artifact_storage().__dict__.pop("signing_client", None)

    url = direct_downloads.url_of(artifact)

    assert url.startswith("https://s3.example.org/")
