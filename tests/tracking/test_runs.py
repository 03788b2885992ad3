"""MLflow runs: create, get, update, delete, params, tags, inputs, outputs."""

import pytest

from metrics import recording
from metrics.points import Point
from runs.models import Run
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory, UserFactory, running, unmanaged_run

pytestmark = pytest.mark.django_db

INVALID = (400, "INVALID_PARAMETER_VALUE")
UNKNOWN = (404, "RESOURCE_DOES_NOT_EXIST")


def as_dict(pairs):
    return {pair["key"]: pair["value"] for pair in pairs}


# --- create ----------------------------------------------------------------------------------


def test_created_run_is_unmanaged(mlflow):
    project = ProjectFactory()

    run = mlflow.post_ok(
        "runs/create",
        experiment_id=project.pk,
        user_id="小李",
        run_name="bold-fox",
        start_time="1664067852747",
        tags=[{"key": "mlflow.source.name", "value": "train.py"}],
    )["run"]

    stored = Run.objects.get()
    assert stored.is_unmanaged
    assert stored.status == RunStatus.RUNNING
    assert run["info"] == {
        "run_id": stored.pk,
        "run_uuid": stored.pk,
        "run_name": "bold-fox",
        "experiment_id": project.pk,
        "user_id": "小李",
        "status": "RUNNING",
        "artifact_uri": f"mlflow-artifacts:/{project.pk}/{stored.pk}/artifacts",
        "lifecycle_stage": "active",
        "start_time": 1664067852747,
    }
    assert as_dict(run["data"]["tags"]) == {
        "mlflow.runName": "bold-fox",
        "mlflow.source.name": "train.py",
        "mlflow.user": "小李",
    }


def test_run_without_name_gets_default_name_and_tag(mlflow):
    run = mlflow.post_ok("runs/create", experiment_id=ProjectFactory().pk)["run"]

    assert run["info"]["run_name"] == "run-001"
    assert as_dict(run["data"]["tags"])["mlflow.runName"] == "run-001"


def test_run_name_can_be_set_by_tag(mlflow):
    tags = [{"key": "mlflow.runName", "value": "calm-owl"}]

    run = mlflow.post_ok("runs/create", experiment_id=ProjectFactory().pk, tags=tags)["run"]

    assert run["info"]["run_name"] == "calm-owl"


def test_experiment_0_is_the_default_experiment(mlflow):
    run = mlflow.post_ok("runs/create", experiment_id="0")["run"]

    experiment = mlflow.get_ok("experiments/get-by-name", experiment_name="Default")["experiment"]
    assert run["info"]["experiment_id"] == experiment["experiment_id"]


@pytest.mark.parametrize(
    "body",
    [
        {"start_time": 10**18},
        {"start_time": "soon"},
        {"start_time": 2**64},
        {"start_time": -1},
        {"start_time": 253_402_300_800_000},  # the year 10000
        {"tags": [{"key": "", "value": "x"}]},
        {"tags": [{"key": "a?", "value": "x"}]},
        {"tags": "x"},
        {"run_name": "\0"},
        {"user_id": "\0"},
        {"experiment_id": 1},
    ],
    ids=lambda body: repr(body)[:30],
)
def test_invalid_run_is_rejected_and_uses_no_run_number(mlflow, body):
    project = ProjectFactory()

    assert mlflow.error("runs/create", **{"experiment_id": project.pk, **body}) == INVALID
    project.refresh_from_db()
    assert project.run_count == 0


# --- get -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run_id", "run_uuid"])
def test_get_accepts_either_id_field(mlflow, name):
    run = unmanaged_run()

    assert mlflow.get_ok("runs/get", **{name: run.pk})["run"]["info"]["run_id"] == run.pk


@pytest.mark.parametrize("id", ["none", "x" * 300])
def test_unknown_run_is_not_found(mlflow, id):
    assert mlflow.error("runs/get", "get", run_id=id) == UNKNOWN


@pytest.mark.parametrize("id", ["", "\0"])
def test_missing_or_invalid_id_is_rejected(mlflow, id):
    assert mlflow.error("runs/get", "get", run_id=id) == INVALID


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (RunStatus.QUEUED, "SCHEDULED"),
        (RunStatus.RUNNING, "RUNNING"),
        (RunStatus.COMPLETED, "FINISHED"),
        (RunStatus.FAILED, "FAILED"),
        (RunStatus.CANCELLED, "KILLED"),
    ],
)
def test_status_is_mapped_to_mlflow(mlflow, status, name):
    run = RunFactory(status=status)

    info = mlflow.get_ok("runs/get", run_id=run.pk)["run"]["info"]

    assert info["status"] == name
    assert ("end_time" in info) == run.is_terminal


def test_latest_metrics_have_step_timestamp_and_any_value(mlflow):
    run = unmanaged_run()
    values = {"a": 0.1, 'b/中"': float("nan"), "c": float("inf"), "d": float("-inf"), "e": 1e300}
    points = [Point(key, 1, 5.0, 10) for key in values]
    points += [Point(key, 2, value, 20) for key, value in values.items()]
    recording.record_metrics(Run.objects.get(pk=run.pk), points)

    metrics = mlflow.get_ok("runs/get", run_id=run.pk)["run"]["data"]["metrics"]

    assert metrics == [
        {"key": key, "value": value, "timestamp": 20, "step": 2}
        for key, value in [
            ("a", 0.1),
            ('b/中"', "NaN"),
            ("c", "Infinity"),
            ("d", "-Infinity"),
            ("e", 1e300),
        ]
    ]


def test_trainhub_hyperparameters_are_string_params(mlflow):
    run = RunFactory(hyperparameters={"lr": 3e-5, "n": 16, "name": "x", "list": [1, 2]})

    params = mlflow.get_ok("runs/get", run_id=run.pk)["run"]["data"]["params"]

    assert as_dict(params) == {"lr": "3e-05", "n": "16", "name": "x", "list": "[1,2]"}


def test_trainhub_run_user_is_its_creator(mlflow):
    run = RunFactory(created_by=UserFactory(username="xiaoli"))

    assert mlflow.get_ok("runs/get", run_id=run.pk)["run"]["info"]["user_id"] == "xiaoli"


def test_query_count_of_get(mlflow, django_assert_num_queries):
    run = unmanaged_run()
    mlflow.get_ok("runs/get", run_id=run.pk)

    # visibility check, run row, metrics
    with django_assert_num_queries(3):
        mlflow.get_ok("runs/get", run_id=run.pk)


# --- update ----------------------------------------------------------------------------------


def test_client_sets_status_and_end_time(mlflow):
    run = unmanaged_run()

    info = mlflow.post_ok("runs/update", run_id=run.pk, status="FINISHED", end_time=1664067852747)

    assert info["run_info"]["status"] == "FINISHED"
    assert info["run_info"]["end_time"] == 1664067852747


def test_client_reopens_ended_run(mlflow):
    run = unmanaged_run(status=RunStatus.FAILED)

    info = mlflow.post_ok("runs/update", run_id=run.pk, status="RUNNING", end_time=1664067852747)

    assert info["run_info"]["status"] == "RUNNING"
    assert "end_time" not in info["run_info"]


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.FAILED])
def test_client_sets_run_to_scheduled_and_to_running_again(mlflow, status):
    run = unmanaged_run(status=status)

    for name in ("SCHEDULED", "RUNNING", "SCHEDULED", "FINISHED"):
        info = mlflow.post_ok("runs/update", run_id=run.pk, status=name)["run_info"]

        assert info["status"] == name


def test_update_renames_run(mlflow):
    run = unmanaged_run()

    info = mlflow.post_ok("runs/update", run_id=run.pk, run_uuid=run.pk, run_name="new")["run_info"]

    assert info["run_name"] == "new"
    assert info["status"] == "RUNNING"


def test_client_cannot_finish_run_of_a_worker(mlflow):
    run = running()

    info = mlflow.post_ok("runs/update", run_id=run.pk, status="FINISHED", end_time=1)["run_info"]

    assert info["status"] == "RUNNING"
    assert "end_time" not in info


@pytest.mark.parametrize("body", [{"status": "DONE"}, {"end_time": 10**18}, {"run_name": "\0"}])
def test_invalid_update_is_rejected(mlflow, body):
    assert mlflow.error("runs/update", run_id=unmanaged_run().pk, **body) == INVALID


# --- delete, restore -------------------------------------------------------------------------


def test_delete_moves_run_to_trash_and_restore_brings_it_back(mlflow):
    run = unmanaged_run()

    assert mlflow.post_ok("runs/delete", run_id=run.pk) == {}
    info = mlflow.get_ok("runs/get", run_id=run.pk)["run"]["info"]
    assert info["lifecycle_stage"] == "deleted"
    assert mlflow.error("runs/set-tag", run_id=run.pk, key="a", value="b") == INVALID

    assert mlflow.post_ok("runs/restore", run_id=run.pk) == {}
    assert mlflow.get_ok("runs/get", run_id=run.pk)["run"]["info"]["lifecycle_stage"] == "active"


def test_run_of_a_worker_cannot_be_deleted(mlflow):
    run = running()

    assert mlflow.error("runs/delete", run_id=run.pk)[0] == 409
    assert Run.objects.kept().exists()


# --- params and tags -------------------------------------------------------------------------


def test_param_logging_is_idempotent_and_rejects_changes(mlflow):
    run = unmanaged_run()

    assert mlflow.post_ok("runs/log-parameter", run_id=run.pk, key="lr", value="0.1") == {}
    assert mlflow.post_ok("runs/log-parameter", run_id=run.pk, key="lr", value="0.1") == {}
    assert mlflow.error("runs/log-parameter", run_id=run.pk, key="lr", value="0.2") == INVALID


def test_tag_is_set_and_deleted(mlflow):
    run = unmanaged_run()

    mlflow.post_ok("runs/set-tag", run_id=run.pk, key="a", value="1")
    run.refresh_from_db()
    assert run.tags == {"a": "1"}

    mlflow.post_ok("runs/delete-tag", run_id=run.pk, key="a")
    run.refresh_from_db()
    assert run.tags == {}
    assert mlflow.error("runs/delete-tag", run_id=run.pk, key="a") == UNKNOWN


@pytest.mark.parametrize("path", ["log-parameter", "set-tag"])
@pytest.mark.parametrize(
    "body", [{}, {"key": "a", "value": 1}, {"key": "a", "value": "\0"}, {"key": "../a"}], ids=str
)
def test_invalid_param_or_tag_is_rejected(mlflow, path, body):
    assert mlflow.error(f"runs/{path}", run_id=unmanaged_run().pk, **body) == INVALID


# --- inputs and outputs ----------------------------------------------------------------------


def test_inputs_and_outputs_are_returned(mlflow):
    run = unmanaged_run()
    dataset = {"name": "corpus", "digest": "d1", "source_type": "local", "source": "{}"}
    tags = [{"key": "mlflow.data.context", "value": "training"}]

    mlflow.post_ok(
        "runs/log-inputs",
        run_id=run.pk,
        datasets=[{"dataset": dataset, "tags": tags}],
        models=[{"model_id": "m-in"}],
    )
    mlflow.post_ok("runs/outputs", run_id=run.pk, models=[{"model_id": "m-out", "step": "7"}])

    stored = mlflow.get_ok("runs/get", run_id=run.pk)["run"]
    assert stored["inputs"] == {
        "dataset_inputs": [{"dataset": {**dataset, "schema": "", "profile": ""}, "tags": tags}],
        "model_inputs": [{"model_id": "m-in"}],
    }
    assert stored["outputs"] == {"model_outputs": [{"model_id": "m-out", "step": 7}]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("log-inputs", {"datasets": [{"dataset": {"name": "x"}}]}),
        ("log-inputs", {"datasets": [{}]}),
        ("log-inputs", {"models": [{"model_id": ""}]}),
        ("outputs", {"models": [{"model_id": "m", "step": 2**63}]}),
    ],
)
def test_invalid_inputs_are_rejected(mlflow, path, body):
    assert mlflow.error(f"runs/{path}", run_id=unmanaged_run().pk, **body) == INVALID
