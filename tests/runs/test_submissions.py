"""A request for a run that is repeated with its Idempotency-Key makes no second run."""

from datetime import timedelta

import pytest
from django.utils import timezone

from runs.models import Run, Submission
from tests.clients import ApiClient
from tests.concurrency import in_parallel
from tests.factories import ProjectFactory, RunFactory, checkpoint

KEY = {"HTTP_IDEMPOTENCY_KEY": "key-12345678"}


@pytest.fixture
def api():
    return ApiClient()


def runs_of(project):
    return f"/projects/{project.pk}/runs"


@pytest.mark.django_db
def test_repeated_request_returns_the_first_run(api):
    url = runs_of(ProjectFactory())

    first = api.post_json(url, {"name": "a"}, **KEY)
    again = api.post_json(url, {"name": "a"}, **KEY)

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == first.json()["id"]
    assert Run.objects.count() == 1


@pytest.mark.django_db
def test_another_request_with_the_key_is_refused(api):
    url = runs_of(ProjectFactory())
    api.post_json(url, {"name": "a"}, **KEY)

    response = api.post_json(url, {"name": "b"}, **KEY)

    assert (response.status_code, response.json()["errors"][0]["code"]) == (
        409,
        "idempotency_key_reused",
    )


@pytest.mark.django_db
def test_refused_request_does_not_use_up_its_key(api):
    url = runs_of(ProjectFactory())
    refused = api.post_json(url, {"code": {"sha256": "0" * 64}}, **KEY)

    made = api.post_json(url, {}, **KEY)

    assert (refused.status_code, made.status_code) == (400, 201)


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["short", "x" * 201, "ein schlüssel"])
def test_malformed_key_is_refused(api, key):
    response = api.post_json(runs_of(ProjectFactory()), {}, HTTP_IDEMPOTENCY_KEY=key)

    assert response.status_code == 400
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_repeated_resume_makes_one_run(api):
    source = checkpoint(RunFactory(), step=10)
    url = f"/projects/{source.run.project_id}/runs/{source.run_id}/resume"
    url += f"?source_artifact_id={source.pk}"

    first, again = (api.post_json(url, {}, **KEY) for _ in range(2))

    assert (first.status_code, again.status_code) == (201, 200)
    assert Run.objects.count() == 2


@pytest.mark.django_db
def test_old_keys_are_forgotten(api):
    url = runs_of(ProjectFactory())
    api.post_json(url, {}, **KEY)
    Submission.objects.update(created_at=timezone.now() - timedelta(days=3))

    api.post_json(url, {}, HTTP_IDEMPOTENCY_KEY="key-of-another")

    assert Submission.objects.count() == 1


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_requests_at_once_one_makes_the_run():
    url = runs_of(ProjectFactory())

    answers = in_parallel(*[lambda: ApiClient().post_json(url, {"name": "a"}, **KEY)] * 4)

    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert Run.objects.count() == 1
