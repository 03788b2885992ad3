"""The API of accounts and reports, and the numbers for Prometheus."""

import csv
import io
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Token
from accounts.roles import Scope
from accounts.tokens import issue_script_token
from goodput.parts import Part
from runs import actions
from runs.executors import WorkState, WorkStatus
from tests.clients import ApiClient
from tests.factories import (
    GpuPoolFactory,
    ProjectFactory,
    RunFactory,
    UserFactory,
    member_of,
    running,
)
from tests.goodput.accounts import accounted
from tests.goodput.story import Story

pytestmark = pytest.mark.django_db
YEAR = "start_time=2026-01-01T00:00Z&end_time=2027-01-01T00:00Z"


@pytest.fixture
def client() -> ApiClient:
    return ApiClient()


def bearer(user, **options) -> dict[str, str]:
    return {"authorization": f"Bearer {Token.issue(user, **options)[1]}", "accept-language": "en"}


@pytest.fixture
def today():
    return timezone.now().date()


class TestRun:
    def test_parts_and_intervals_sum_to_the_wall_time(self, client):
        story = Story(gpu_count=2, gpu_type="A100")
        GpuPoolFactory(price_per_gpu_hour=3600)
        story.claim(5)
        story.steps(12, *range(1, 21))
        story.at(32, lambda run: actions.settle(
            run, WorkStatus(WorkState.FINISHED), worker=story.worker
        ))  # fmt: skip

        content = client.get(f"/projects/{story.run.project_id}/runs/{story.run.pk}/goodput").json()

        assert content["is_over"]
        assert content["wall_seconds"] == 32
        assert sum(part["seconds"] for part in content["parts"].values()) == 32
        assert content["goodput"] == 20 / 32
        assert content["gpu_hours"] == pytest.approx(27 * 2 / 3600)
        assert content["cost"] == "54.00"
        assert [(one["part"], one["seconds"]) for one in content["intervals"]] == [
            ("waiting", 5),
            ("starting", 7),
            ("training", 20),
        ]

    def test_run_in_the_queue_only_waits(self, client):
        run = RunFactory()

        content = client.get(f"/projects/{run.project_id}/runs/{run.pk}/goodput").json()

        assert not content["is_over"]
        assert [one["part"] for one in content["intervals"]] == ["waiting"]

    def test_run_of_another_project_is_not_found(self, client):
        run, project = RunFactory(), ProjectFactory()

        assert client.get(f"/projects/{project.pk}/runs/{run.pk}/goodput").status_code == 404

    def test_script_may_read_its_own_run_alone(self, settings):
        settings.OPEN_MODE = False
        run, other = RunFactory(), RunFactory()
        token, _digest = issue_script_token(UserFactory(), run.pk, life=timedelta(days=1))
        client = Client(SERVER_NAME="localhost", headers={"Authorization": f"Bearer {token}"})

        def status(one):
            return client.get(f"/projects/{one.project_id}/runs/{one.pk}/goodput").status_code

        assert (status(run), status(other)) == (200, 403)
        assert client.get("/goodput").status_code == 403


class TestReport:
    def test_report_by_project_is_the_default(self, client):
        run = accounted(gpu_count=2, hours={Part.TRAINING: 3, Part.REPEATED: 1})

        content = client.get(f"/goodput?{YEAR}").json()

        assert (content["by"], content["first_day"], content["last_day"]) == (
            "project", "2026-01-01", "2026-12-31"
        )  # fmt: skip
        [group] = content["groups"]
        assert (group["key"], group["name"]) == (run.project_id, run.project.name)
        assert group["goodput"] == 0.75
        assert group["parts"]["repeated"] == {"seconds": 3600, "gpu_hours": 2}
        assert content["total"]["gpu_hours"] == 8

    @pytest.mark.parametrize("by", ["project", "owner", "user", "pool", "month", "day", "run"])
    def test_every_grouping_has_the_same_total(self, client, by):
        for gpus in (1, 2):
            accounted(gpu_count=gpus, created_by=UserFactory(), hours={Part.TRAINING: 3})

        content = client.get(f"/goodput?by={by}&{YEAR}").json()

        assert content["total"]["gpu_hours"] == 9
        assert content["total"]["run_count"] == 2
        assert sum(group["gpu_hours"] for group in content["groups"]) == 9

    def test_csv_has_a_row_a_group_and_neutral_names(self, client):
        project = ProjectFactory(name="=1+1")
        accounted(project=project, gpu_count=2, hours={Part.TRAINING: 3})

        response = client.get(f"/goodput?format=csv&{YEAR}")

        assert response["Content-Type"] == "text/csv; charset=utf-8; header=present"
        assert "goodput-by-project-2026-01-01-2026-12-31.csv" in response["Content-Disposition"]
        [row] = csv.DictReader(io.StringIO(response.content.decode()))
        assert row["name"] == "'=1+1"
        assert (row["gpu_hours"], row["training_seconds"]) == ("6.0", "10800.0")
        assert row["cost"] == ""

    @pytest.mark.parametrize(
        ("query", "attr"),
        [
            ("by=color", "by"),
            ("format=xlsx", "format"),
            ("limit=0", "limit"),
            ("start_time=yesterday", "start_time"),
            ("start_time=2026-05-01T00:00", "start_time"),
            ("start_time=2026-05-02T00:00Z&end_time=2026-05-01T00:00Z", "end_time"),
            ("group=project", "group"),
            ("project_id=%00", "project_id"),
        ],
    )
    def test_bad_query_is_refused_with_its_parameter(self, client, query, attr):
        response = client.get(f"/goodput?{query}")

        assert response.status_code == 400
        assert response.json()["errors"][0]["attr"] == attr

    def test_unknown_project_is_not_found(self, client):
        assert client.get("/goodput?project_id=proj_none").status_code == 404

    def test_extreme_times_are_no_error(self, client):
        query = "start_time=1970-01-01T00:00Z&end_time=9999-12-31T23:59:59Z"

        assert client.get(f"/goodput?{query}").status_code in {200, 400}
        assert client.get("/goodput?end_time=1970-01-01T00:00:00Z").status_code in {200, 400}

    def test_signing_in_is_needed(self, settings):
        settings.OPEN_MODE = False
        client = Client(SERVER_NAME="localhost")

        assert client.get("/goodput").status_code == 401
        assert client.get("/metrics").status_code == 401


class TestPrometheus:
    def test_numbers_of_now(self, client):
        GpuPoolFactory(gpu_type="A100", capacity=8)
        running(gpu_type="A100", gpu_count=3)
        RunFactory()

        response = client.get("/metrics")

        assert response["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        lines = response.content.decode().splitlines()
        assert 'trainhub_gpus{pool="A100"} 8' in lines
        assert 'trainhub_gpus_in_use{pool="A100"} 3' in lines
        assert 'trainhub_runs{status="queued"} 1' in lines
        assert 'trainhub_runs{status="running"} 1' in lines
        assert "# TYPE trainhub_gpus gauge" in lines

    def test_goodput_of_projects_and_pools(self, client, today):
        project = ProjectFactory(name='a "quoted"\\\nname')
        accounted(day=today, project=project, gpu_count=2, gpu_type="A100",
                  hours={Part.TRAINING: 3, Part.SAVING: 1})  # fmt: skip

        text = client.get("/metrics").content.decode()

        labels = f'project="{project.pk}",name="a \\"quoted\\"\\\\\\nname"'
        assert f"trainhub_project_goodput_ratio{{{labels}}} 0.75\n" in text
        assert f'trainhub_project_gpu_seconds{{{labels},part="saving"}} 7200.0\n' in text
        assert 'trainhub_pool_gpu_seconds{pool="A100",part="training"} 21600.0\n' in text

    def test_every_line_is_of_the_format(self, client, today):
        accounted(day=today, gpu_count=2, hours={Part.TRAINING: 3})

        for line in client.get("/metrics").content.decode().splitlines():
            assert line.startswith("# ") or float(line.rpartition(" ")[2]) >= 0

    def test_parameters_are_refused(self, client):
        assert client.get("/metrics?x=1").status_code == 400


class TestVisibility:
    def test_report_is_of_the_projects_that_the_caller_sees(self, client, settings):
        settings.OPEN_MODE = False
        mine = accounted(hours={Part.TRAINING: 2}, gpu_count=1)
        hidden = accounted(hours={Part.TRAINING: 5}, gpu_count=1)
        headers = bearer(member_of(mine.project))

        for by in ("project", "owner", "user", "pool", "month", "day", "run"):
            content = client.get(f"/goodput?{YEAR}&by={by}", headers=headers).json()
            assert content["total"]["run_count"] == 1
            assert content["total"]["gpu_hours"] == 2.0

        query = f"/goodput?{YEAR}&project_id={hidden.project_id}"
        assert client.get(query, headers=headers).status_code == 404

    @pytest.mark.parametrize(
        ("fields", "options", "status"),
        [
            ({}, {}, 403),
            ({"is_staff": True}, {}, 200),
            ({"is_superuser": True}, {"scope": Scope.READ}, 200),
            ({"is_superuser": True}, {"is_limited": True}, 403),
        ],
        ids=["user", "staff", "superuser's token that reads", "token of one project"],
    )
    def test_numbers_of_all_projects_are_for_operators(
        self, client, settings, fields, options, status
    ):
        settings.OPEN_MODE = False
        if options.pop("is_limited", False):
            options["project_id"] = ProjectFactory().pk

        response = client.get("/metrics", headers=bearer(UserFactory(**fields), **options))

        assert response.status_code == status
        assert ("every project" in response.content.decode()) == (status == 403)
