"""The form of a run, filled in with what another run had."""

import pytest

from projects.models import ProjectStatus
from runs.models import Run
from runs.status import RunStatus
from tests.dashboard.run_table.pages import page
from tests.factories import ProjectFactory, RecipeFactory, RunFactory, unmanaged_run

pytestmark = pytest.mark.django_db


def test_run_again_has_the_values_of_the_run(client, project, make_run):
    run = make_run(
        "sweep-7",
        hyperparameters={"learning_rate": 3e-5, "max_steps": 7, "warmup": {"a": 1}},
        model="big",
        dataset="news",
        gpu_type="A100",
        gpu_count=4,
        priority=3,
        preemptible=True,
    )

    response = client.get(f"/dashboard/projects/{project.pk}/runs/new?from={run.pk}")
    form = response.context["form"]
    values = {name: form[name].value() for name in form.fields}

    assert values | {"other_hyperparameters": ""} == {
        "name": "sweep-7",
        "model": "big",
        "dataset": "news",
        "recipe": "simulated",
        "gpu_type": "A100",
        "gpu_count": 4,
        "nodes": 1,
        "time_limit_seconds": None,
        "priority": 3,
        "preemptible": "yes",
        "learning_rate": "3e-5",
        "batch_size": "",
        "num_epochs": "",
        "max_steps": "7",
        "seed": "",
        "other_hyperparameters": "",
    }
    assert 'value="3e-5"' in response.content.decode()
    assert "&quot;warmup&quot;: {" in response.content.decode()


def test_run_again_queues_what_the_form_says(client, project, make_run):
    run = make_run("a", hyperparameters={"learning_rate": 3e-5, "max_steps": 7})

    client.post(
        f"/dashboard/projects/{project.pk}/runs/new?from={run.pk}",
        {"name": "b", "learning_rate": "1e-4", "max_steps": "7", "recipe": "simulated"},
    )

    again = Run.objects.get(name="b")
    assert again.status == RunStatus.QUEUED
    assert again.hyperparameters["learning_rate"] == 1e-4
    assert again.hyperparameters["max_steps"] == 7


def test_run_again_of_an_unmanaged_run_reads_its_params(client, project):
    run = unmanaged_run(project=project, hyperparameters={"max_steps": "7", "x": "y"})

    form = client.get(f"/dashboard/projects/{project.pk}/runs/new?from={run.pk}").context["form"]

    assert form["max_steps"].value() == "7"
    assert form.initial["other_hyperparameters"] == {"x": "y"}


def test_run_again_says_that_the_recipe_is_turned_off(client, project, make_run):
    run = make_run("a", recipe=RecipeFactory(name="old", enabled=False))

    text = page(client, f"/dashboard/projects/{project.pk}/runs/new?from={run.pk}")

    assert "Its recipe old is turned off" in text


@pytest.mark.parametrize("source", ["nonsense", "%00"])
def test_run_again_of_an_unknown_run_is_not_found(client, project, source):
    response = client.get(f"/dashboard/projects/{project.pk}/runs/new?from={source}")

    assert response.status_code == 404


def test_run_of_another_project_does_not_fill_the_form(client, project):
    other = RunFactory(project=ProjectFactory())

    response = client.get(f"/dashboard/projects/{project.pk}/runs/new?from={other.pk}")

    assert response.status_code == 404


def test_archived_project_has_no_form_for_a_run(client, project):
    project.set_status(ProjectStatus.ARCHIVED)

    text = page(client, f"/dashboard/projects/{project.pk}/runs/new")

    assert "does not accept new runs" in text
    assert "Start run" not in text
