"""The fast JSON of runs equals the output of the serializers."""

import math
from datetime import UTC, datetime

import pytest

from metrics.points import Point
from metrics.recording import record_metrics
from runs.models import Run
from runs.serializers import RunDetailSerializer, RunSummarySerializer
from runs.status import RunStatus
from tests.clients import ApiClient
from tests.factories import ProjectFactory, RunFactory, checkpoint, running

pytestmark = pytest.mark.django_db


@pytest.fixture
def api():
    return ApiClient()


def url(run):
    return f"/projects/{run.project_id}/runs/{run.pk}"


def serialized(run):
    content = dict(RunDetailSerializer(Run.objects.get(pk=run.pk)).data)
    del content["cancelled_at"]  # not a field of the model
    return content


def queued():
    return RunFactory()


def at_work():
    run = running(gpu_type="A100", gpu_count=4, total_steps=3, step=1, progress=1 / 3)
    record_metrics(run, [Point("loss", 1, math.nan, 0), Point("gpu_utilization", 1, 0.83, 0)])
    return run


def cancelled():
    source = checkpoint(RunFactory())
    return RunFactory(
        status=RunStatus.CANCELLED,
        finished_at=datetime(2024, 1, 2, 11, tzinfo=UTC),
        resumed_from_id=source.pk,
        hyperparameters={"learning_rate": 3e-5, "名": ["嵌", {"套": None}]},
    )


def failed():
    return RunFactory(status=RunStatus.FAILED, failure_kind="disk_full", exit_code=1)


def unmanaged():
    return RunFactory(status=RunStatus.RUNNING, recipe=None, tags={"mlflow.user": "小李"})


@pytest.mark.parametrize("make", [queued, at_work, cancelled, failed, unmanaged])
def test_detail_equals_the_serializers(api, make):
    run = make()

    content = api.get(url(run)).json()
    cancelled_at = content.pop("cancelled_at")
    assert content == serialized(run)
    assert cancelled_at == (content["finished_at"] if run.status == RunStatus.CANCELLED else None)


@pytest.mark.parametrize("query", ["", "?page=1&page_size=2"])
def test_list_equals_the_serializers(api, query):
    project = ProjectFactory()
    for name in ("b", "c", "a"):
        run = RunFactory(project=project, name=name, total_steps=3, step=1, progress=1 / 3)
        record_metrics(run, [Point("loss", 1, math.nan, 0)])
    runs = Run.objects.order_by("-created_at", "id")[: 2 if query else None]

    response = api.get(f"/projects/{project.pk}/runs{query}")

    assert response.json() == RunSummarySerializer(runs, many=True).data


def test_list_takes_a_constant_number_of_queries(api, django_assert_num_queries):
    project = ProjectFactory()
    RunFactory.create_batch(60, project=project)

    # project, count, ids, summaries
    with django_assert_num_queries(4):
        api.get(f"/projects/{project.pk}/runs?page=1&page_size=50")


def test_detail_takes_one_query(api, django_assert_num_queries):
    run = RunFactory()
    api.get(url(run))

    with django_assert_num_queries(1):
        api.get(url(run))


@pytest.mark.parametrize("path", ["/projects/{project}/runs/run_none", "/projects/p/runs/{run}"])
def test_missing_run_or_run_of_another_project_is_not_found(api, path):
    run = RunFactory()

    response = api.get(path.format(project=run.project_id, run=run.pk))

    assert response.status_code == 404
    assert response.json()["type"] == "client_error"


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_other_methods_are_refused_in_the_standard_error_shape(api, method):
    response = getattr(api, method)(url(RunFactory()), content_type="application/json")

    assert response.status_code == 405
    assert response.json()["errors"][0]["code"] == "method_not_allowed"


def test_anonymous_request_is_refused(api, settings):
    settings.OPEN_MODE = False

    assert api.get(url(RunFactory())).status_code == 401


def test_invalid_ids_are_not_found(api):
    assert api.get("/projects/p%00/runs/r%00").status_code == 404
