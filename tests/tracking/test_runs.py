"""Runs as MLflow's clients make, read, change and delete them."""

import pytest

from runs import ingestion
from runs.ingestion import Point
from runs.models import Run
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory, UserFactory, running

pytestmark = pytest.mark.django_db

INVALID = (400, "INVALID_PARAMETER_VALUE")
UNKNOWN = (404, "RESOURCE_DOES_NOT_EXIST")


def external_run(**fields) -> Run:
    defaults = {"recipe": None, "status": RunStatus.RUNNING, "hyperparameters": {}}
    return RunFactory(**{**defaults, **fields})


def as_dict(pairs):
    return {pair["key"]: pair["value"] for pair in pairs}


# --- create ----------------------------------------------------------------------------------


def test_created_run_is_a_run_of_a_script_elsewhere(mlflow):
    project = ProjectFactory()

    run = mlflow.tell(
        "runs/create",
        experiment_id=project.pk,
        user_id="小李",
        run_name="bold-fox",
        start_time="1664067852747",
        tags=[{"key": "mlflow.source.name", "value": "train.py"}],
    )["run"]

    stored = Run.objects.get()
    assert stored.is_external
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


def test_run_without_a_name_gets_one_and_the_tag_says_it(mlflow):
    run = mlflow.tell("runs/create", experiment_id=ProjectFactory().pk)["run"]

    assert run["info"]["run_name"] == "run-001"
    assert as_dict(run["data"]["tags"])["mlflow.runName"] == "run-001"


def test_run_is_named_by_its_tag(mlflow):
    tags = [{"key": "mlflow.runName", "value": "calm-owl"}]

    run = mlflow.tell("runs/create", experiment_id=ProjectFactory().pk, tags=tags)["run"]

    assert run["info"]["run_name"] == "calm-owl"


def test_run_of_experiment_0_belongs_to_the_default_one(mlflow):
    run = mlflow.tell("runs/create", experiment_id="0")["run"]

    experiment = mlflow.ask("experiments/get-by-name", experiment_name="Default")["experiment"]
    assert run["info"]["experiment_id"] == experiment["experiment_id"]


def test_archived_experiment_takes_no_run(mlflow):
    project = ProjectFactory(status="已归档")

    assert mlflow.refused("runs/create", experiment_id=project.pk)[0] == 409
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        {"start_time": 10**18},
        {"start_time": "soon"},
        {"start_time": 2**64},
        {"tags": [{"key": "", "value": "x"}]},
        {"tags": [{"key": "a?", "value": "x"}]},
        {"tags": "x"},
        {"run_name": "\0"},
        {"user_id": "\0"},
        {"experiment_id": 1},
    ],
    ids=lambda body: repr(body)[:30],
)
def test_bad_run_is_refused_and_takes_no_number(mlflow, body):
    project = ProjectFactory()

    assert mlflow.refused("runs/create", **{"experiment_id": project.pk, **body}) == INVALID
    project.refresh_from_db()
    assert project.run_count == 0


# --- get -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run_id", "run_uuid"])
def test_run_is_read_by_either_name_of_its_id(mlflow, name):
    run = external_run()

    assert mlflow.ask("runs/get", **{name: run.pk})["run"]["info"]["run_id"] == run.pk


@pytest.mark.parametrize("id", ["none", "x" * 300])
def test_unknown_run_is_told(mlflow, id):
    assert mlflow.refused("runs/get", "get", run_id=id) == UNKNOWN


@pytest.mark.parametrize("id", ["", "\0"])
def test_missing_or_impossible_id_is_refused(mlflow, id):
    assert mlflow.refused("runs/get", "get", run_id=id) == INVALID


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
def test_status_is_told_in_mlflows_word(mlflow, status, name):
    run = RunFactory(status=status)

    info = mlflow.ask("runs/get", run_id=run.pk)["run"]["info"]

    assert info["status"] == name
    assert ("end_time" in info) == run.is_terminal


def test_latest_metrics_have_step_and_time_and_every_kind_of_value(mlflow):
    run = external_run()
    values = {"a": 0.1, 'b/中"': float("nan"), "c": float("inf"), "d": float("-inf"), "e": 1e300}
    points = [Point(key, 1, 5.0, 10) for key in values]
    points += [Point(key, 2, value, 20) for key, value in values.items()]
    ingestion.record_metrics(Run.objects.get(pk=run.pk), points)

    metrics = mlflow.ask("runs/get", run_id=run.pk)["run"]["data"]["metrics"]

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


def test_hyperparameters_of_trainhubs_own_are_texts(mlflow):
    run = RunFactory(hyperparameters={"lr": 3e-5, "n": 16, "name": "x", "list": [1, 2]})

    params = mlflow.ask("runs/get", run_id=run.pk)["run"]["data"]["params"]

    assert as_dict(params) == {"lr": "3e-05", "n": "16", "name": "x", "list": "[1,2]"}


def test_run_of_trainhubs_own_belongs_to_who_made_it(mlflow):
    run = RunFactory(created_by=UserFactory(username="xiaoli"))

    assert mlflow.ask("runs/get", run_id=run.pk)["run"]["info"]["user_id"] == "xiaoli"


def test_queries_of_a_run(mlflow, django_assert_num_queries):
    run = external_run()
    mlflow.ask("runs/get", run_id=run.pk)

    # whether it may be seen, what it is, its metrics
    with django_assert_num_queries(3):
        mlflow.ask("runs/get", run_id=run.pk)


# --- update ----------------------------------------------------------------------------------


def test_end_is_the_clients_and_the_answer_tells_it(mlflow):
    run = external_run()

    info = mlflow.tell("runs/update", run_id=run.pk, status="FINISHED", end_time=1664067852747)

    assert info["run_info"]["status"] == "FINISHED"
    assert info["run_info"]["end_time"] == 1664067852747


def test_run_is_taken_up_again_as_a_client_does_it(mlflow):
    run = external_run(status=RunStatus.FAILED)

    info = mlflow.tell("runs/update", run_id=run.pk, status="RUNNING", end_time=1664067852747)

    assert info["run_info"]["status"] == "RUNNING"
    assert "end_time" not in info["run_info"]


def test_run_is_renamed(mlflow):
    run = external_run()

    info = mlflow.tell("runs/update", run_id=run.pk, run_uuid=run.pk, run_name="new")["run_info"]

    assert info["run_name"] == "new"
    assert info["status"] == "RUNNING"


def test_finish_of_a_workers_run_is_a_hint(mlflow):
    run = running()

    info = mlflow.tell("runs/update", run_id=run.pk, status="FINISHED", end_time=1)["run_info"]

    assert info["status"] == "RUNNING"
    assert "end_time" not in info


@pytest.mark.parametrize("body", [{"status": "DONE"}, {"end_time": 10**18}, {"run_name": "\0"}])
def test_bad_update_is_refused(mlflow, body):
    assert mlflow.refused("runs/update", run_id=external_run().pk, **body) == INVALID


# --- delete, restore -------------------------------------------------------------------------


def test_deleted_run_is_in_the_trash_and_comes_back(mlflow):
    run = external_run()

    assert mlflow.tell("runs/delete", run_id=run.pk) == {}
    info = mlflow.ask("runs/get", run_id=run.pk)["run"]["info"]
    assert info["lifecycle_stage"] == "deleted"
    assert mlflow.refused("runs/set-tag", run_id=run.pk, key="a", value="b") == INVALID

    assert mlflow.tell("runs/restore", run_id=run.pk) == {}
    assert mlflow.ask("runs/get", run_id=run.pk)["run"]["info"]["lifecycle_stage"] == "active"


def test_run_that_a_worker_carries_out_is_not_deleted(mlflow):
    run = running()

    assert mlflow.refused("runs/delete", run_id=run.pk)[0] == 409
    assert Run.objects.kept().exists()


# --- params and tags -------------------------------------------------------------------------


def test_param_is_logged_once_and_refused_when_it_changes(mlflow):
    run = external_run()

    assert mlflow.tell("runs/log-parameter", run_id=run.pk, key="lr", value="0.1") == {}
    assert mlflow.tell("runs/log-parameter", run_id=run.pk, key="lr", value="0.1") == {}
    assert mlflow.refused("runs/log-parameter", run_id=run.pk, key="lr", value="0.2") == INVALID


def test_tag_is_set_and_deleted(mlflow):
    run = external_run()

    mlflow.tell("runs/set-tag", run_id=run.pk, key="a", value="1")
    run.refresh_from_db()
    assert run.tags == {"a": "1"}

    mlflow.tell("runs/delete-tag", run_id=run.pk, key="a")
    run.refresh_from_db()
    assert run.tags == {}
    assert mlflow.refused("runs/delete-tag", run_id=run.pk, key="a") == UNKNOWN


@pytest.mark.parametrize("path", ["log-parameter", "set-tag"])
@pytest.mark.parametrize(
    "body", [{}, {"key": "a", "value": 1}, {"key": "a", "value": "\0"}, {"key": "../a"}], ids=str
)
def test_bad_param_or_tag_is_refused(mlflow, path, body):
    assert mlflow.refused(f"runs/{path}", run_id=external_run().pk, **body) == INVALID


# --- inputs and outputs ----------------------------------------------------------------------


def test_inputs_and_outputs_come_back(mlflow):
    run = external_run()
    dataset = {"name": "corpus", "digest": "d1", "source_type": "local", "source": "{}"}
    tags = [{"key": "mlflow.data.context", "value": "training"}]

    mlflow.tell(
        "runs/log-inputs",
        run_id=run.pk,
        datasets=[{"dataset": dataset, "tags": tags}],
        models=[{"model_id": "m-in"}],
    )
    mlflow.tell("runs/outputs", run_id=run.pk, models=[{"model_id": "m-out", "step": "7"}])

    read = mlflow.ask("runs/get", run_id=run.pk)["run"]
    assert read["inputs"] == {
        "dataset_inputs": [{"dataset": {**dataset, "schema": "", "profile": ""}, "tags": tags}],
        "model_inputs": [{"model_id": "m-in"}],
    }
    assert read["outputs"] == {"model_outputs": [{"model_id": "m-out", "step": 7}]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("log-inputs", {"datasets": [{"dataset": {"name": "x"}}]}),
        ("log-inputs", {"datasets": [{}]}),
        ("log-inputs", {"models": [{"model_id": ""}]}),
        ("outputs", {"models": [{"model_id": "m", "step": 2**63}]}),
    ],
)
def test_bad_inputs_are_refused(mlflow, path, body):
    assert mlflow.refused(f"runs/{path}", run_id=external_run().pk, **body) == INVALID
