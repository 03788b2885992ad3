"""A recipe script that uses the MLflow client to report to the run its worker created."""

import pytest

from tests.factories import RecipeFactory
from tests.tracking.clients.client import SCRIPTS, interpreter_of
from tests.waiting import wait_until
from tests.workers import WorkerProcess

pytestmark = pytest.mark.django_db(serialized_rollback=True)


@pytest.fixture(scope="package")
def recipe(server, version, django_db_blocker):
    """The name of a recipe, which ``server`` deletes on teardown."""
    with django_db_blocker.unblock():
        recipe = RecipeFactory(
            command=[str(interpreter_of(version)), str(SCRIPTS / "recipe.py")],
            max_restarts=0,
            environment={
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            },
        )
    return recipe.name


@pytest.fixture
def worker(server):
    worker = WorkerProcess(
        "clients",
        TRAINHUB_DATA_DIR=server.data,
        TRAINHUB_PORT=server.port,
        TRAINHUB_HOST_METRICS_SECONDS=0,
    )
    yield worker
    worker.kill()


def test_script_reports_to_its_run_and_exit_code_decides_status(recipe, worker, hub):
    project = hub.api.post("/projects", {"name": "配方", "base_model": "gpt-2"}).json
    runs = f"/projects/{project['id']}/runs"
    created = hub.api.post(runs, {"recipe": recipe, "hyperparameters": {"batch_size": 16}})
    assert created.status == 201, created.body
    path = f"{runs}/{created.json['id']}"

    wait_until(lambda: hub.get(path)["finished_at"])

    run = hub.get(path)
    assert (run["status"], run["exit_code"]) == ("已失败", 3)
    assert run["metrics"] == {"loss": 1 / 3}
    assert run["hyperparameters"].items() >= {"batch_size": 16, "layers": "12"}.items()
    assert len(hub.items(runs)) == 1
    assert hub.api.get(f"{path}/artifacts/files/notes.txt").body == b"done"
