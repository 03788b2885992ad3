"""Numbers wider than 64 bits, which jsonb stores as integers, must survive serialization."""

import time

import pytest
from django.apps import apps
from django.db import models, transaction
from django.test import Client

from core.json_field import JSONField, integer_or_float
from metrics.points import Point
from metrics.recording import record_metrics
from projects.models import Project
from runs.models import Run
from tests.factories import ProjectFactory, RunFactory

HUGE = 1e25  # a float that jsonb stores as an 84-bit integer


@pytest.mark.parametrize("number", [0, -(2**63), 2**64 - 1])
def test_integer_of_64_bits_stays_an_integer(number: int) -> None:
    assert type(integer_or_float(str(number))) is int


@pytest.mark.parametrize("number", [-(2**63) - 1, 2**64, 10**25])
def test_wider_integer_is_a_float(number: int) -> None:
    assert integer_or_float(str(number)) == float(number)
    assert type(integer_or_float(str(number))) is float


@pytest.mark.django_db
def test_project_with_a_huge_default_can_be_read_and_run() -> None:
    project = ProjectFactory(default_hyperparameters={"scale": HUGE})
    client = Client(SERVER_NAME="localhost")

    detail = client.get(f"/projects/{project.pk}")
    run = client.post(f"/projects/{project.pk}/runs", "{}", content_type="application/json")
    page = client.get(f"/dashboard/projects/{project.pk}")

    assert detail.json()["default_hyperparameters"] == {"scale": HUGE}
    assert run.status_code == 201
    assert run.json()["hyperparameters"] == {"scale": HUGE}
    assert page.status_code == 200


def test_every_json_column_reads_huge_numbers_as_floats() -> None:
    fields = [
        field
        for model in apps.get_models()
        if "site-packages" not in apps.get_app_config(model._meta.app_label).path
        for field in model._meta.get_fields()
        if isinstance(field, models.JSONField)
    ]

    assert fields
    assert [str(field) for field in fields if not isinstance(field, JSONField)] == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "address",
    [
        "/audit",
        "/audit?format=csv",
        "/audit?format=jsonl",
        "/dashboard/audit",
        "/admin/audit/entry/",
    ],
)
def test_audit_of_a_huge_number_can_be_read(admin_client: Client, address: str) -> None:
    project = ProjectFactory(default_hyperparameters={"scale": HUGE})

    response = admin_client.get(address, SERVER_NAME="localhost")

    content = response.getvalue() if response.streaming else response.content
    assert response.status_code == 200
    assert project.pk.encode() in content


@pytest.mark.django_db
@pytest.mark.parametrize("columns", ["params.scale", "params.scale&sort=params.scale"])
def test_table_shows_a_huge_hyperparameter(columns: str) -> None:
    run = RunFactory(hyperparameters={"scale": HUGE})

    page = Client(SERVER_NAME="localhost").get(
        f"/dashboard/projects/{run.project_id}?columns={columns}"
    )

    assert page.status_code == 200
    assert "1e25" in page.content.decode().replace("e+", "e")


@pytest.mark.django_db
def test_version_of_a_project_with_a_huge_default_can_be_read() -> None:
    project = ProjectFactory(default_hyperparameters={"scale": HUGE})

    project.revise({"default_hyperparameters": {"scale": 2 * HUGE}}, by=None)

    newest = Project.objects.get(pk=project.pk).versions()[0]
    assert [(change.old, change.new) for change in newest.changes] == [
        ({"scale": HUGE}, {"scale": 2 * HUGE})
    ]
    assert Client(SERVER_NAME="localhost").get(f"/projects/{project.pk}").status_code == 200


@pytest.mark.django_db
def test_run_with_a_huge_loss_can_be_read() -> None:
    run = RunFactory()
    with transaction.atomic():
        locked = Run.objects.lock(run.pk)
        record_metrics(locked, [Point("train_loss", 1, HUGE, time.time_ns() // 1_000_000)])
    client = Client(SERVER_NAME="localhost")

    detail = client.get(f"/projects/{run.project_id}/runs/{run.pk}")
    runs = client.get(f"/projects/{run.project_id}/runs")
    page = client.get(f"/dashboard/projects/{run.project_id}/runs/{run.pk}")

    assert detail.json()["metrics"] == {"train_loss": HUGE}
    assert runs.json()[0]["metrics"] == {"train_loss": HUGE}
    assert page.status_code == 200
