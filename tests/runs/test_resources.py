"""Nodes, time limits and the options of a cluster."""

import pytest
from django.core.exceptions import ValidationError
from django.utils import translation

from core.exceptions import InvalidInput
from runs.actions import create_run, resume_run
from runs.resources import check_engine_options
from tests.factories import ProjectFactory, RecipeFactory, RunFactory, checkpoint

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def english():
    """Errors say why in the reader's language."""
    with translation.override("en"):
        yield


def test_run_takes_nodes_and_time_limit_of_its_recipe():
    recipe = RecipeFactory(executor="slurm", nodes=2, gpu_count=8, time_limit_seconds=3600)

    run = create_run(ProjectFactory(), by=None, recipe=recipe)

    assert run.resources == {"gpu_type": "", "gpu_count": 8, "nodes": 2}
    assert run.time_limit_seconds == 3600


def test_run_may_ask_for_others():
    recipe = RecipeFactory(executor="slurm", nodes=2, gpu_count=8, time_limit_seconds=3600)
    resources = {"gpu_count": 16, "nodes": 4}

    run = create_run(
        ProjectFactory(), by=None, recipe=recipe, resources=resources, time_limit_seconds=60
    )

    assert (run.gpu_count, run.nodes, run.time_limit_seconds) == (16, 4, 60)


def test_gpus_that_nodes_cannot_share_are_refused():
    recipe = RecipeFactory(executor="slurm")

    with pytest.raises(InvalidInput, match="divided evenly"):
        create_run(ProjectFactory(), by=None, recipe=recipe, resources={"gpu_count": 3, "nodes": 2})


def test_process_runs_on_one_node():
    with pytest.raises(InvalidInput, match="one node"):
        create_run(ProjectFactory(), by=None, recipe=RecipeFactory(), resources={"nodes": 2})


def test_resumed_run_keeps_its_nodes_and_time_limit():
    source = RunFactory(
        recipe=RecipeFactory(executor="slurm"), nodes=2, time_limit_seconds=600, status="已失败"
    )

    resumed = resume_run(source, checkpoint(source, step=40), by=None)

    assert (resumed.nodes, resumed.time_limit_seconds) == (2, 600)


def test_unknown_options_are_refused_with_the_known_ones():
    with pytest.raises(InvalidInput, match=r"no options walltime; it has: account, .*partition"):
        check_engine_options("slurm", {"walltime": "1"})


@pytest.mark.parametrize("value", ["a b", "-x", "", "a\nb", 1, None, "x" * 501])
def test_options_that_are_no_plain_text_are_refused(value):
    with pytest.raises(InvalidInput, match="partition"):
        check_engine_options("slurm", {"partition": value})


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({"nodes": 2, "executor": "process"}, "nodes"),
        ({"nodes": 2, "gpu_count": 3}, "gpu_count"),
        ({"engine_options": {"gpus": "1"}}, "engine_options"),
        ({"command": []}, "command"),
    ],
)
def test_recipe_says_which_field_is_wrong(fields, at_fault):
    recipe = RecipeFactory.build(**{"executor": "slurm", **fields})

    with pytest.raises(ValidationError) as caught:
        recipe.clean()

    assert set(caught.value.message_dict) == {at_fault}


def test_api_refuses_with_the_field(client):
    project = ProjectFactory()
    RecipeFactory(name="on-slurm", executor="slurm")
    body = {"recipe": "on-slurm", "resources": {"gpu_count": 3, "nodes": 2}}

    response = client.post(f"/projects/{project.pk}/runs", body, content_type="application/json")

    assert response.status_code == 400
    assert response.json()["errors"][0]["attr"] == "gpu_count"
