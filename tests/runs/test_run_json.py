"""The quick ways to a run's JSON say what the serializers say."""

import math
from datetime import UTC, datetime

import pytest

from runs.ingestion import record_metrics
from runs.models import Run
from runs.points import Point
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


def by_the_serializer(run):
    return RunDetailSerializer(Run.objects.get(pk=run.pk)).data


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
        resumed_from=source,
        hyperparameters={"learning_rate": 3e-5, "名": ["嵌", {"套": None}]},
    )


def started_elsewhere():
    return RunFactory(status=RunStatus.RUNNING, recipe=None, tags={"mlflow.user": "小李"})


@pytest.mark.parametrize("make", [queued, at_work, cancelled, started_elsewhere])
def test_it_says_what_the_serializer_says(api, make):
    run = make()

    assert api.get(url(run)).json() == by_the_serializer(run)


@pytest.mark.parametrize("query", ["", "?page=1&page_size=2"])
def test_list_says_what_the_serializer_says_in_its_order(api, query):
    project = ProjectFactory()
    for name in ("b", "c", "a"):
        run = RunFactory(project=project, name=name, total_steps=3, step=1, progress=1 / 3)
        record_metrics(run, [Point("loss", 1, math.nan, 0)])
    runs = Run.objects.order_by("-created_at", "id")[: 2 if query else None]

    answer = api.get(f"/projects/{project.pk}/runs{query}")

    assert answer.json() == RunSummarySerializer(runs, many=True).data


def test_list_takes_the_same_few_queries_whatever_is_in_it(api, django_assert_num_queries):
    project = ProjectFactory()
    RunFactory.create_batch(60, project=project)

    # the project, how many runs, which, and what they are
    with django_assert_num_queries(4):
        api.get(f"/projects/{project.pk}/runs?page=1&page_size=50")


def test_detail_takes_one_query(api, django_assert_num_queries):
    run = RunFactory()
    api.get(url(run))

    with django_assert_num_queries(1):
        api.get(url(run))


@pytest.mark.parametrize("path", ["/projects/{project}/runs/run_none", "/projects/p/runs/{run}"])
def test_run_that_is_not_there_or_is_anothers_is_not_found(api, path):
    run = RunFactory()

    answer = api.get(path.format(project=run.project_id, run=run.pk))

    assert answer.status_code == 404
    assert answer.json()["type"] == "client_error"


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_other_methods_are_refused_in_the_one_shape(api, method):
    answer = getattr(api, method)(url(RunFactory()), content_type="application/json")

    assert answer.status_code == 405
    assert answer.json()["errors"][0]["code"] == "method_not_allowed"


def test_nobody_is_told_nothing(api, settings):
    settings.OPEN_MODE = False

    assert api.get(url(RunFactory())).status_code == 401


def test_odd_ids_are_not_found(api):
    assert api.get("/projects/p%00/runs/r%00").status_code == 404
