"""The API of code: uploads, files, what a run has, diffs."""

import hashlib
from datetime import timedelta

import pytest

from accounts.models import Token
from accounts.tokens import issue_script_token
from artifacts.storage import artifact_storage
from code_bundles import diffs, viewsets
from runs.models import CodeBundle, Run, RunCode
from tests.clients import ApiClient
from tests.code_bundles.bundles import bundle, packed
from tests.factories import (
    ProjectFactory,
    RecipeFactory,
    RunFactory,
    UserFactory,
    member_of,
    running,
)

pytestmark = pytest.mark.django_db
FILES = {"train.py": "print('a')\n", "lib/数据.py": "x = 1\n"}


@pytest.fixture
def api():
    return ApiClient(headers={"accept-language": "en"})


@pytest.fixture
def project():
    return ProjectFactory()


def code_url(project, part=""):
    return f"/projects/{project.pk}/code{part}"


def upload(api, project, content, query="", **extra):
    return api.post(code_url(project, query), content, content_type="application/zip", **extra)


def code_of(response):
    return response.json()["errors"][0]["code"]


# --- uploads ---------------------------------------------------------------------------------


def test_upload_returns_the_hash_of_the_files(api, project):
    content = packed(FILES)

    response = upload(api, project, content)

    assert response.status_code == 201
    stored = CodeBundle.objects.get()
    assert response.json() == {
        "sha256": stored.pk,
        "size_bytes": len(content),
        "unpacked_bytes": sum(len(text.encode()) for text in FILES.values()),
        "file_count": 2,
        "created_at": response.json()["created_at"],
    }
    assert stored.created_by.username == "admin"


def test_same_code_again_is_not_new(api, project):
    first = upload(api, project, packed(FILES))

    again = upload(api, ProjectFactory(), packed(FILES))

    assert (again.status_code, again.json()["sha256"]) == (200, first.json()["sha256"])


def test_bad_archive_is_refused(api, project):
    response = upload(api, project, b"no zip")

    assert (response.status_code, code_of(response)) == (400, "bad_bundle")


def test_announced_hash_is_checked(api, project):
    content = packed(FILES)

    other_files = upload(api, project, content, f"?sha256={'0' * 64}")
    other_bytes = upload(api, project, content, HTTP_X_CHECKSUM_SHA256="0" * 64)
    right = upload(
        api, project, content, HTTP_X_CHECKSUM_SHA256=hashlib.sha256(content).hexdigest()
    )

    assert [code_of(response) for response in (other_files, other_bytes)] == [
        "checksum_mismatch"
    ] * 2
    assert right.status_code == 201


def test_too_large_archive_is_refused(api, project, monkeypatch):
    monkeypatch.setattr(viewsets, "MAX_ARCHIVE_BYTES", 10)

    response = upload(api, project, packed(FILES))

    assert (response.status_code, code_of(response)) == (413, "code_too_large")


def test_code_of_an_unknown_project_is_refused(api):
    response = api.post("/projects/proj_1/code", packed(FILES), content_type="application/zip")

    assert response.status_code == 404


def test_script_of_a_run_brings_no_code(client, settings):
    settings.OPEN_MODE = False
    run = running(recipe=RecipeFactory(), created_by=UserFactory())
    token, digest = issue_script_token(run.created_by, run.pk, life=timedelta(hours=1))
    run.change(script_tokens=[digest])

    responses = [
        client.post(
            f"/projects/{run.project_id}/{path}",
            content,
            content_type=kind,
            headers={"Authorization": f"Bearer {token}"},
        )
        for path, content, kind in (
            ("code", packed(FILES), "application/zip"),
            ("runs", b'{"code": {"sha256": "%s"}}' % (b"0" * 64), "application/json"),
        )
    ]

    assert [response.status_code for response in responses] == [403, 403]
    assert not CodeBundle.objects.exists()


# --- reading ---------------------------------------------------------------------------------


def test_files_are_listed(api, project):
    stored = bundle(FILES)

    found = api.get(code_url(project, f"/{stored.pk}")).json()

    assert [(file["path"], file["kind"], file["size_bytes"]) for file in found["files"]] == [
        ("lib/数据.py", "f", 6),
        ("train.py", "f", 11),
    ]


def test_archive_is_downloaded(api, project):
    stored = bundle(FILES)

    response = api.get(code_url(project, f"/{stored.pk}/download"))

    assert b"".join(response) == packed(FILES)
    assert response["Content-Type"] == "application/zip"


def test_file_is_read(api, project):
    url = code_url(project, f"/{bundle(FILES).pk}/file")

    assert api.get(url, {"path": "lib/数据.py"}).content == b"x = 1\n"
    assert api.get(url, {"path": "lib"}).status_code == 404


@pytest.mark.parametrize("part", ["", "/download", "/file?path=a"])
def test_unknown_code_is_not_found(api, project, part):
    assert api.get(code_url(project, f"/{'0' * 64}{part}")).status_code == 404


def test_archive_that_is_missing_is_not_found(api, project):
    stored = bundle(FILES)
    artifact_storage().delete(stored.stored_as)

    parts = ("/download", "/file?path=train.py")

    assert {api.get(code_url(project, f"/{stored.pk}{part}")).status_code for part in parts} == {
        404
    }


# --- runs ------------------------------------------------------------------------------------


def run_with(files, project, **fields):
    run = RunFactory(project=project)
    RunCode.objects.create(run=run, bundle=bundle(files), **fields)
    return run


def test_run_is_created_with_code_and_shows_it(api, project):
    recipe = RecipeFactory(code="required", code_from="members")
    stored = bundle(FILES)
    code = {
        "sha256": stored.pk,
        "commit": "a" * 40,
        "branch": "main",
        "remote": "https://me:secret@example.com/model.git",
        "dirty": True,
        "untracked": ["notes.txt"],
        "patch": "diff --git a/train.py b/train.py\n",
    }

    made = api.post_json(f"/projects/{project.pk}/runs", {"recipe": recipe.pk, "code": code})

    assert made.status_code == 201, made.content
    shown = api.get(f"/projects/{project.pk}/runs/{made.json()['id']}").json()["code"]
    assert shown == made.json()["code"]
    assert shown == {
        "sha256": stored.pk,
        "git_url": None,
        "revision": None,
        "commit": "a" * 40,
        "branch": "main",
        "remote": "https://example.com/model.git",
        "dirty": True,
        "untracked": ["notes.txt"],
    }
    whole = api.get(f"/projects/{project.pk}/runs/{made.json()['id']}/code").json()
    assert whole["patch"] == code["patch"]
    assert whole["bundle"]["file_count"] == 2


@pytest.mark.parametrize(
    "code",
    [
        {},
        "x",
        {"sha256": "0" * 64, "git_url": "https://example.com/x"},
        {"sha256": "0" * 63},
        {"sha256": "0" * 64, "commit": "main"},
        {"sha256": "0" * 64, "dirty": "yes"},
        {"sha256": "0" * 64, "untracked": ["a\x00b"]},
        {"sha256": "0" * 64, "patch": 1},
        {"sha256": "0" * 64, "more": 1},
        {"sha256": "0" * 64},
        {"git_url": "https://example.com/x"},
        {"git_url": "https://example.com/x", "revision": "--upload-pack=id"},
        {"git_url": "https://example.com/x", "patch": "x"},
        {"git_url": 1},
    ],
)
def test_nonsense_is_refused(api, project, code):
    recipe = RecipeFactory(code="required", code_from="members")

    response = api.post_json(f"/projects/{project.pk}/runs", {"recipe": recipe.pk, "code": code})

    assert response.status_code == 400
    assert not Run.objects.exists()


def test_recipe_that_takes_no_code_says_so(api, project):
    code = {"sha256": bundle(FILES).pk}

    response = api.post_json(f"/projects/{project.pk}/runs", {"code": code})

    assert (response.status_code, code_of(response)) == (400, "code_not_allowed")


def test_run_without_code_has_none(api, project):
    run = RunFactory(project=project)

    assert api.get(f"/projects/{project.pk}/runs/{run.pk}/code").status_code == 404
    assert api.get(f"/projects/{project.pk}/runs/{run.pk}").json()["code"] is None


# --- diffs -----------------------------------------------------------------------------------


def diff(api, before, after):
    response = api.get(
        f"/projects/{after.project_id}/runs/{after.pk}/code/diff", {"against": before.pk}
    )
    return response, b"".join(response).decode()


def test_diff_of_two_runs_is_unified(api, project):
    before = run_with({"a.py": "1\n2\n3\n", "gone.py": "x\n", "same.py": "s"}, project)
    after = run_with({"a.py": "1\n2!\n3\n", "new.py": "y", "same.py": "s"}, project)

    response, text = diff(api, before, after)

    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert text == (
        "--- a/a.py\n+++ b/a.py\n@@ -1,3 +1,3 @@\n 1\n-2\n+2!\n 3\n"
        "--- a/gone.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
        "--- /dev/null\n+++ b/new.py\n@@ -0,0 +1 @@\n+y\n\\ No newline at end of file\n"
    )


def test_binary_and_large_files_are_only_named(api, project, monkeypatch):
    monkeypatch.setattr(diffs, "MAX_FILE_BYTES", 100)
    before = run_with({"bin": b"\x00", "big": "x" * 101, "text": b"\xff"}, project)
    after = run_with({"bin": b"\x01\x00", "big": "y" * 101, "text": "t"}, project)

    _response, text = diff(api, before, after)

    assert text == "# M big (large file)\n# M bin (binary file)\n# M text (binary file)\n"


def test_diff_has_an_end(api, project, monkeypatch):
    monkeypatch.setattr(diffs, "MAX_DIFF_BYTES", 10)
    before = run_with({"a": "1\n", "b": "1\n"}, project)
    after = run_with({"a": "2\n", "b": "2\n"}, project)

    _response, text = diff(api, before, after)

    assert text.endswith("# M b (not compared: too much differs)\n")


def test_diff_of_the_same_code_is_empty(api, project):
    runs = [run_with(FILES, project) for _ in range(2)]

    assert diff(api, *runs)[1] == ""


def test_diff_against_a_run_without_code_is_refused(api, project):
    after = run_with(FILES, project)
    before = RunFactory(project=project)

    response = api.get(f"/projects/{project.pk}/runs/{after.pk}/code/diff", {"against": before.pk})

    assert (response.status_code, code_of(response)) == (409, "no_code")


# --- whose code it is --------------------------------------------------------------------------


@pytest.fixture
def stranger(settings):
    """A member of another project, who knows the hash of a bundle."""
    settings.OPEN_MODE = False
    project = ProjectFactory()
    secret = Token.issue(member_of(project))[1]
    headers = {"authorization": f"Bearer {secret}", "accept-language": "en"}
    return ApiClient(headers=headers), project


def test_bundle_of_another_project_is_not_found(stranger):
    api, project = stranger
    stored = bundle(FILES)
    RunCode.objects.create(run=RunFactory(), bundle=stored)

    for part in ("", "/download", "/file?path=train.py"):
        assert api.get(code_url(project, f"/{stored.pk}{part}")).status_code == 404


def test_run_cannot_have_the_bundle_of_another_project(stranger):
    api, project = stranger
    RecipeFactory(name="with-code", code="optional", code_from="members")
    stored = bundle(FILES)

    response = api.post_json(
        f"/projects/{project.pk}/runs", {"recipe": "with-code", "code": {"sha256": stored.pk}}
    )

    assert response.status_code == 400
    assert "no code with this hash" in response.content.decode()
    assert not Run.objects.exists()


def test_who_uploads_a_stored_bundle_has_it(stranger):
    api, project = stranger
    stored = bundle(FILES)

    response = upload(api, project, packed(FILES))

    assert response.status_code == 200
    assert api.get(code_url(project, f"/{stored.pk}")).status_code == 200


def test_bundle_of_a_visible_run_is_found(stranger):
    api, project = stranger
    stored = bundle(FILES)
    RunCode.objects.create(run=RunFactory(project=project), bundle=stored)

    assert api.get(code_url(project, f"/{stored.pk}")).status_code == 200
