"""The job that is submitted: nothing of a recipe reaches a shell unquoted."""

import shlex
import subprocess

import pytest

from execution.executors.attempt import Attempt
from execution.executors.slurm.script import (
    JobDescription,
    name_of,
    packed_launcher,
    sbatch,
    script,
)
from tests.factories import RecipeFactory, RunFactory

ATTEMPT = Attempt("run_abc", 3)


def described(**fields):
    defaults = {
        "nodes": 1,
        "gpus_per_node": 0,
        "gres_type": "",
        "cpus_per_node": None,
        "memory_gb_per_node": None,
        "time_limit_seconds": None,
        "options": {},
    }
    return JobDescription(**{**defaults, **fields})


@pytest.fixture(autouse=True)
def work_dir(settings, tmp_path):
    settings.WORK_DIR = tmp_path / "with a space; and $HOME"
    settings.WORK_DIR.mkdir()


def test_job_is_found_again_by_its_name():
    assert f"--job-name={name_of(ATTEMPT)}" in sbatch(ATTEMPT, described())
    assert name_of(ATTEMPT) == "trainhub-run_abc-3"


def test_plain_job_asks_for_nothing_that_is_not_set():
    arguments = sbatch(ATTEMPT, described())

    assert {"--no-requeue", "--export=NIL", "--nodes=1", "--parsable"} <= set(arguments)
    for name in ("--gres", "--mem", "--time", "--cpus-per-task", "--partition"):
        assert not any(argument.startswith(name) for argument in arguments)


def test_job_asks_for_each_node():
    job = described(
        nodes=4,
        gpus_per_node=8,
        gres_type="a100",
        cpus_per_node=32,
        memory_gb_per_node=500,
        time_limit_seconds=90,
        options={"partition": "gpu", "account": "lab;rm -rf /"},
    )

    arguments = sbatch(ATTEMPT, job)

    assert {"--nodes=4", "--gres=gpu:a100:8", "--cpus-per-task=32", "--mem=500G"} <= set(arguments)
    assert {"--time=2", "--partition=gpu", "--account=lab;rm -rf /"} <= set(arguments)


def test_script_is_valid_and_quotes_its_paths(settings):
    text = script(ATTEMPT, described(nodes=2, cpus_per_node=4))

    subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    assert shlex.quote(str(ATTEMPT.directory)) in text
    assert "--kill-on-bad-exit=1" in text
    assert "--nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=4" in text


def test_python_of_the_nodes_can_be_another(settings):
    settings.NODE_PYTHON = "/shared/python 3"

    assert "'/shared/python 3' -I" in script(ATTEMPT, described())


def test_launcher_is_packed_once():
    first = packed_launcher()
    written = first.stat().st_mtime_ns

    assert packed_launcher() == first
    assert first.stat().st_mtime_ns == written


@pytest.mark.django_db
def test_description_divides_gpus_and_takes_the_recipes_options():
    recipe = RecipeFactory(
        executor="slurm",
        cpus_per_node=8,
        memory_gb_per_node=64,
        engine_options={"partition": "gpu", "gres_type": "h100_sxm"},
    )
    run = RunFactory(recipe=recipe, nodes=2, gpu_count=8, gpu_type="H100", time_limit_seconds=600)

    assert JobDescription.of(run) == described(
        nodes=2,
        gpus_per_node=4,
        gres_type="h100_sxm",
        cpus_per_node=8,
        memory_gb_per_node=64,
        time_limit_seconds=600,
        options={"partition": "gpu"},
    )
