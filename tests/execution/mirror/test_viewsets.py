"""The endpoints of launchers over HTTP: what they take, and from whom."""

import hashlib
import io
import tarfile
from datetime import timedelta

import pytest
from django.test import Client

from accounts.models import Token
from accounts.tokens import issue_script_token
from execution.executors.attempt import Attempt
from execution.mirror.receiving import GB, MAX_CHUNK_BYTES
from execution.mirror.starting import put_start
from execution.models import MirroredAttempt, MirroredFile
from runs.status import RunStatus
from tests.factories import UserFactory, member_of, running

pytestmark = pytest.mark.django_db

REPORT = {"launcher": "a", "now": 1.0, "seen": 0.0, "files": [], "knows": False}
LOG = {"path": "stdout.log", "version": "1.0", "grows": True}


@pytest.fixture
def run():
    """A run whose first attempt has a mirrored start."""
    run = running()
    attempt = Attempt.of(run)
    (attempt.directory / "resume").mkdir(parents=True)
    (attempt.directory / "config.json").write_text("{}")
    (attempt.directory / "resume" / "model.bin").write_bytes(b"weights")
    put_start(run, run.worker, attempt, {"nodes": 1, "command": ["x"], "environment": {}})
    return run


@pytest.fixture
def client():
    return Client(SERVER_NAME="localhost", raise_request_exception=False)


def url(run, path, number=1):
    return f"/projects/{run.project_id}/runs/{run.pk}/attempts/{number}{path}"


def report(client, run, number=1, **changes):
    body = {**REPORT, **changes}
    return client.post(url(run, "/nodes/0", number), body, content_type="application/json")


def put(client, run, content, **changes):
    about = {"path": "stdout.log", "version": "1.0", "offset": 0, "modified_ns": 1, "launcher": "a"}
    query = "&".join(f"{name}={value}" for name, value in {**about, **changes}.items())
    return client.put(
        f"{url(run, '/nodes/0/files')}?{query}", content, content_type="application/octet-stream"
    )


def code_of(response):
    return response.json()["errors"][0]["code"]


# --- the start -------------------------------------------------------------------------------


def test_start_has_the_files_that_the_worker_has_prepared(client, run):
    start = client.get(url(run, "/start")).json()
    archive = b"".join(client.get(url(run, "/start/files")).streaming_content)

    assert (len(archive), hashlib.sha256(archive).hexdigest()) == (start["size"], start["sha256"])
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert tar.getnames() == ["config.json", "resume/model.bin"]


def test_start_is_fetched_in_ranges(client, run):
    whole = b"".join(client.get(url(run, "/start/files")).streaming_content)

    part = client.get(url(run, "/start/files"), headers={"Range": "bytes=10-19"})

    assert part.status_code == 206
    assert b"".join(part.streaming_content) == whole[10:20]


# --- reports ---------------------------------------------------------------------------------


def test_bytes_arrive_once_however_often_they_are_sent(client, run):
    report(client, run, files=[LOG])

    answers = [put(client, run, b"line\n") for _time in range(3)]
    answers.append(put(client, run, b"line\nnext\n"))

    assert [answer.json()["size"] for answer in answers] == [5, 5, 5, 5]
    assert MirroredFile.objects.get().received == 5


def test_gap_is_refused(client, run):
    report(client, run, files=[LOG])

    response = put(client, run, b"later", offset=7)

    assert (response.status_code, code_of(response)) == (409, "out_of_step")


def test_file_that_is_not_listed_is_refused(client, run):
    report(client, run, files=[LOG])

    assert put(client, run, b"x", version="2.0").status_code == 409
    assert put(client, run, b"x", path="metrics.jsonl").status_code == 409


def test_chunk_above_the_limit_is_refused(client, run):
    report(client, run, files=[LOG])

    response = put(client, run, bytes(MAX_CHUNK_BYTES + 1))

    assert (response.status_code, code_of(response)) == (413, "chunk_too_large")


def test_more_than_may_wait_is_refused_for_now(client, run, settings):
    settings.MIRROR_WAITING_GB = 10 / GB
    report(client, run, files=[LOG])
    put(client, run, b"0123456789")

    response = put(client, run, b"x", offset=10)

    assert (response.status_code, code_of(response)) == (503, "too_much_waits")
    assert response.headers["Retry-After"] == "5"
    assert MirroredFile.objects.get().received == 10


def test_name_with_a_space_at_its_end_is_kept(client, run):
    saved = {"path": "checkpoints/a ", "version": "1", "grows": False, "size": 1, "modified_ns": 1}
    report(client, run, files=[saved])

    response = put(client, run, b"x", path="checkpoints/a%20", version="1")

    assert response.json() == {"size": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"launcher": ""},
        {"now": "x"},
        {"files": [{"path": "../x", "version": "1", "grows": True}]},
        {"files": [{"path": "killed", "version": "1", "grows": True}]},
        {"files": [{"path": "stdout.log", "version": "1", "grows": False}]},
        {"files": [{**LOG, "colour": "red"}]},
        {"files": "all"},
        {"more": 1},
    ],
)
def test_invalid_report_is_refused_and_changes_nothing(client, run, changes):
    response = report(client, run, **changes)

    assert response.status_code == 400, response.content
    assert not MirroredFile.objects.exists()


def test_stop_is_asked_for_in_the_answer(client, run):
    assert report(client, run).json()["stop"] is False
    MirroredAttempt.objects.update(stop=True)

    assert report(client, run).json()["stop"] is True


# --- from whom -------------------------------------------------------------------------------


def test_attempt_that_is_over_is_gone(client, run):
    assert report(client, run, number=2).status_code == 410
    run.change(attempt=2)
    assert report(client, run, number=1).status_code == 410


def test_run_that_is_over_is_gone(client, run):
    run.transition(RunStatus.CANCELLED)

    response = report(client, run)

    assert (response.status_code, code_of(response)) == (410, "attempt_over")


def test_second_launcher_of_a_node_is_gone(client, run):
    report(client, run)

    assert report(client, run, launcher="b").status_code == 410


def test_node_that_the_attempt_does_not_have_is_refused(client, run):
    response = client.post(url(run, "/nodes/1"), REPORT, content_type="application/json")

    assert response.status_code == 400


def test_token_of_another_run_is_refused(client, run):
    other = running()
    user = UserFactory()
    token, _digest = issue_script_token(user, other.pk, life=timedelta(hours=1))
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {token}"

    assert report(client, run).status_code == 403
    assert client.get(url(run, "/start")).status_code == 403


def test_token_of_the_run_is_enough(client, run):
    token, _digest = issue_script_token(UserFactory(), run.pk, life=timedelta(hours=1))
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {token}"

    assert report(client, run).status_code == 200


@pytest.fixture
def signed_in(client, settings, request, run):
    """Signed in as a member or as an operator, with a token of their own."""
    settings.OPEN_MODE = False
    user = member_of(run.project, is_staff=request.param, is_superuser=request.param)
    _row, token = Token.issue(user)
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    return client


@pytest.mark.parametrize("signed_in", [False, True], ids=["member", "operator"], indirect=True)
def test_people_get_no_token_of_the_owner_and_report_nothing(signed_in, run):
    mirrored = MirroredAttempt.objects.get()
    mirrored.set_launch({"environment": {"MLFLOW_TRACKING_TOKEN": "th_secret"}})
    mirrored.save()

    answers = [
        signed_in.get(url(run, "/start")),
        signed_in.get(url(run, "/start/files")),
        report(signed_in, run),
        put(signed_in, run, b"x"),
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 403, 403]
    assert not any(b"th_secret" in answer.content for answer in answers)


def test_token_of_the_run_is_enough_where_sign_in_is_required(client, run, settings):
    settings.OPEN_MODE = False
    token, _digest = issue_script_token(UserFactory(), run.pk, life=timedelta(hours=1))
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {token}"

    assert client.get(url(run, "/start")).status_code == 200
    assert report(client, run).status_code == 200
