"""The API of runs."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command

from artifacts.kinds import TagValue
from logs.appending import append_log
from logs.lines import Line
from runs.actions import create_run
from runs.models import Run
from tests.clients import ApiClient
from tests.factories import ProjectFactory, RunFactory

pytestmark = pytest.mark.django_db
NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def client() -> ApiClient:
    return ApiClient()


def advance(steps: int) -> None:
    call_command("advance_runs", steps=steps, verbosity=0)


def started_run(steps: int = 30, **hyperparameters: float) -> Run:
    """A simulated run that has made ``steps`` of 300 steps."""
    run = create_run(
        ProjectFactory.create(), by=None, hyperparameters={"max_steps": 300, **hyperparameters}
    )
    advance(steps)
    run.refresh_from_db()
    return run


def url(run: Run, rest: str = "") -> str:
    return f"/projects/{run.project_id}/runs/{run.pk}{rest}"


class TestCreate:
    def test_hyperparameters_are_the_defaults_overridden_by_the_request(self, client):
        defaults = {"learning_rate": 3e-5, "batch_size": 16}
        project = ProjectFactory.create(default_hyperparameters=defaults)

        content = client.post_json(
            f"/projects/{project.pk}/runs", {"hyperparameters": {"batch_size": 32, "x": [1]}}
        ).json()

        assert content["hyperparameters"] == {"learning_rate": 3e-5, "batch_size": 32, "x": [1]}

    def test_names_count_up_within_the_project(self, client):
        first, second = ProjectFactory.create(), ProjectFactory.create()

        names = [
            client.post_json(f"/projects/{project.pk}/runs").json()["name"]
            for project in (first, first, second)
        ]

        assert names == ["run-001", "run-002", "run-001"]

    def test_model_defaults_to_the_projects_base_model(self, client):
        project = ProjectFactory.create(base_model="qwen-7b")

        content = client.post_json(f"/projects/{project.pk}/runs").json()

        assert content["model"] == "qwen-7b"

    def test_body_may_be_empty(self, client):
        project = ProjectFactory.create()

        response = client.post(f"/projects/{project.pk}/runs", content_type="application/json")

        assert response.status_code == 201


class TestList:
    def test_list_is_complete_without_pagination(self, client):
        project = ProjectFactory.create()
        RunFactory.create_batch(103, project=project)

        content = client.get(f"/projects/{project.pk}/runs").json()

        assert len(content) == 103

    def test_list_takes_three_queries_however_many_runs(
        self, client, django_assert_max_num_queries
    ):
        project = ProjectFactory.create()
        RunFactory.create_batch(30, project=project)
        client.get("/projects")

        with django_assert_max_num_queries(3):  # administrator, project, runs
            client.get(f"/projects/{project.pk}/runs")

    def test_status_filter_accepts_several_values(self, client):
        project = ProjectFactory.create()
        queued = RunFactory.create(project=project)
        running = RunFactory.create(project=project, status="运行中")
        RunFactory.create(project=project, status="已完成", finished_at=NOON)

        content = client.get(f"/projects/{project.pk}/runs?status=排队中&status=运行中").json()

        assert {item["id"] for item in content} == {queued.pk, running.pk}

    @pytest.mark.parametrize(
        ("query", "expected"),
        [("model=a", ["one"]), ("name=TW", ["two"]), ("sort=name", ["one", "two"])],
    )
    def test_filters_and_order(self, client, query, expected):
        project = ProjectFactory.create()
        RunFactory.create(project=project, name="one", model="a")
        RunFactory.create(project=project, name="two", model="b")

        content = client.get(f"/projects/{project.pk}/runs?{query}").json()

        assert [item["name"] for item in content] == expected

    def test_time_filter_includes_its_start_and_not_its_end(self, client):
        project = ProjectFactory.create()
        runs = RunFactory.create_batch(3, project=project)
        for hours, run in enumerate(runs):
            Run.objects.filter(pk=run.pk).update(created_at=NOON + timedelta(hours=hours))

        content = client.get(
            f"/projects/{project.pk}/runs"
            "?created_after=2024-01-02T12:00:00Z&created_before=2024-01-02T13:00:00Z"
        ).json()

        assert [item["id"] for item in content] == [runs[0].pk]

    def test_tag_filter_lists_a_run_with_several_tagged_checkpoints_once(self, client):
        run = started_run(250)
        for checkpoint in run.artifacts.checkpoints():
            checkpoint.tag(TagValue.RELEASED, notes="", by=None)
        RunFactory.create(project=run.project)

        content = client.get(f"/projects/{run.project_id}/runs?tag=发布").json()

        assert [item["id"] for item in content] == [run.pk]


class TestCancel:
    def test_running_run_keeps_a_checkpoint_of_its_current_step(self, client):
        run = started_run(33)

        content = client.post(url(run, "/cancel"), content_type="application/json").json()

        assert content["status"] == "已取消"
        assert content["cancelled_at"] == content["finished_at"]
        assert [item["name"] for item in content["artifacts"]] == ["取消前的检查点"]
        assert run.artifacts.get(id=content["artifacts"][0]["id"]).step == 33

    def test_queued_run_keeps_a_checkpoint_of_step_zero(self, client):
        run = create_run(ProjectFactory.create(), by=None)

        content = client.post_json(url(run, "/cancel")).json()

        assert content["status"] == "已取消"
        assert run.artifacts.get(id=content["artifacts"][0]["id"]).step == 0

    def test_cancelling_is_idempotent(self, client):
        run = started_run()

        first = client.post_json(url(run, "/cancel"))
        second = client.post_json(url(run, "/cancel"))

        assert (first.status_code, second.status_code) == (200, 200)
        assert first.json() == second.json()


class TestResume:
    def test_new_run_starts_at_the_checkpoint(self, client):
        run = started_run(120)
        checkpoint = run.artifacts.checkpoints().get()

        content = client.post_json(url(run, f"/resume?source_artifact_id={checkpoint.pk}")).json()

        assert content["status"] == "运行中"
        assert content["resumed_from"] == checkpoint.pk
        assert content["progress"] == pytest.approx(100 / 300, abs=1e-4)
        assert content["started_at"] is not None

    def test_body_overrides_the_sources_configuration(self, client):
        run = started_run(120, seed=7)
        checkpoint = run.artifacts.checkpoints().get()

        content = client.post_json(
            url(run, f"/resume?source_artifact_id={checkpoint.pk}"),
            {"hyperparameters": {"max_steps": 1000}, "resources": {"gpu_count": 2}},
        ).json()

        assert content["hyperparameters"]["max_steps"] == 1000
        assert content["hyperparameters"]["seed"] == 7
        assert content["resources"]["gpu_count"] == 2
        assert content["progress"] == 0.1

    def test_curve_continues_from_the_checkpoint(self, client):
        run = started_run(120)
        checkpoint = run.artifacts.checkpoints().get()
        resumed = client.post_json(url(run, f"/resume?source_artifact_id={checkpoint.pk}")).json()

        advance(50)

        series = Run.objects.get(pk=resumed["id"]).series.get(key="train_loss")
        assert series.points.order_by("step").first().step == 101

    def test_artifact_that_is_no_checkpoint_is_refused(self, client):
        run = started_run()
        config = run.artifacts.get(type="config")

        response = client.post_json(url(run, f"/resume?source_artifact_id={config.pk}"))

        assert response.status_code == 400
        assert response.json()["errors"][0]["attr"] == "source_artifact_id"
        assert Run.objects.count() == 1

    def test_checkpoint_of_another_project_is_refused(self, client):
        run, other = started_run(120), started_run(120)
        checkpoint = other.artifacts.checkpoints().get()

        response = client.post_json(url(run, f"/resume?source_artifact_id={checkpoint.pk}"))

        assert response.status_code == 400
        assert response.json()["errors"][0]["attr"] == "source_artifact_id"
        assert Run.objects.count() == 2

    def test_nothing_left_to_train_is_refused(self, client):
        run = started_run(120)
        checkpoint = run.artifacts.checkpoints().get()

        response = client.post_json(
            url(run, f"/resume?source_artifact_id={checkpoint.pk}"),
            {"hyperparameters": {"max_steps": 100}},
        )

        assert response.status_code == 400
        assert Run.objects.count() == 1


class TestLogs:
    @pytest.fixture
    def run(self) -> Run:
        run = RunFactory.create()
        append_log(
            run,
            [
                Line.new(
                    f"line {n}",
                    "ERROR" if n == 3 else "INFO",
                    "stdout",
                    NOON + timedelta(minutes=n),
                )
                for n in range(1, 61)
            ],
        )
        return run

    def test_page_has_fifty_lines_and_the_total(self, client, run):
        content = client.get(url(run, "/logs")).json()

        assert (content["page"], content["page_size"], content["total"]) == (1, 50, 60)
        assert [item["seq"] for item in content["items"]] == list(range(1, 51))

    def test_last_page_has_the_rest(self, client, run):
        content = client.get(url(run, "/logs?page=2")).json()

        assert [item["message"] for item in content["items"]] == [
            f"line {n}" for n in range(51, 61)
        ]

    def test_start_time_is_inclusive_and_end_time_exclusive(self, client, run):
        content = client.get(
            url(run, "/logs?start_time=2024-01-02T12:02:00Z&end_time=2024-01-02T12:05:00Z")
        ).json()

        assert [item["message"] for item in content["items"]] == ["line 2", "line 3", "line 4"]
        assert content["total"] == 3

    @pytest.mark.parametrize("plus", ["%2B", "+"])
    def test_time_zone_offset_is_respected(self, client, run, plus):
        content = client.get(url(run, f"/logs?end_time=2024-01-02T20:03:00{plus}08:00")).json()

        assert content["total"] == 2

    @pytest.mark.parametrize(("query", "total"), [("level=ERROR", 1), ("q=LINE 1", 11)])
    def test_level_and_text_filter(self, client, run, query, total):
        assert client.get(url(run, f"/logs?{query}")).json()["total"] == total


class TestDetail:
    def test_detail_has_latest_metrics_and_utilization(self, client):
        run = started_run(50)

        content = client.get(url(run)).json()

        assert content["status"] == "运行中"
        assert content["progress"] == pytest.approx(50 / 300, abs=1e-4)
        assert {"train_loss", "eval_rouge_l"} <= content["metrics"].keys()
        assert 0 < content["gpu_utilization"] <= 1

    def test_nan_is_returned_as_text(self, client):
        run = started_run(200, learning_rate=1.0)

        content = client.get(url(run)).json()

        assert content["status"] == "已失败"
        assert content["metrics"]["train_loss"] == "NaN"
        assert content["status_reason"]

    def test_events_are_the_history(self, client):
        run = started_run(300)

        content = client.get(url(run, "/events")).json()

        assert [event["to_status"] for event in content if event["to_status"]] == [
            "排队中",
            "运行中",
            "已完成",
        ]
