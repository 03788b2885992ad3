"""Scripts that use the mlflow fluent API: what they log is recorded immediately."""

import re

import pytest

pytestmark = pytest.mark.django_db(serialized_rollback=True)
PROJECT = "论文摘要"


@pytest.fixture(scope="package")
def training(client):
    return client.run("training")


def test_experiment_is_a_project(training, hub):
    assert hub.project(PROJECT)["id"] == training["experiment"]
    names = {"first", "fold", "files", "measured", "broken", "async", "autologged"}
    assert hub.runs(PROJECT).keys() == names


def test_run_is_completed(training, hub):
    run = hub.run(PROJECT, "first")

    assert training["ended"] == "FINISHED"
    assert (run["status"], run["progress"], run["recipe"]) == ("已完成", 1, None)
    assert run["finished_at"] >= run["started_at"]


def test_params_become_string_hyperparameters(training, hub):
    params = {"seed": "7", "learning_rate": "3e-05", "optimizer": "adamw"}
    params["prompt"] = "长" * 5999 + "…"  # truncated instead of rejected

    assert hub.run(PROJECT, "first")["hyperparameters"] == params
    assert training["params"] == params


def test_latest_metrics_include_non_finite_values(training, hub):
    latest = {"loss": 0.2, "eval/accuracy": 0.5, "eval/f1": 0.25}

    assert hub.run(PROJECT, "first")["metrics"] == {
        **latest,
        "nan": "NaN",
        "up": "Infinity",
        "down": "-Infinity",
    }
    assert training["metrics"] == {
        **{key: str(value) for key, value in latest.items()},
        "nan": "nan",
        "up": "inf",
        "down": "-inf",
    }


def test_every_point_is_stored(training, hub):
    losses = [1 / (step + 1) for step in range(5)]

    summary = hub.metrics(PROJECT, "first")["loss"]
    assert (summary["count"], summary["min"], summary["max"]) == (5, 0.2, 1)
    assert training["history"]["loss"] == [[step, str(loss)] for step, loss in enumerate(losses)]
    assert training["history"]["nan"] == [[1, "nan"]]
    assert training["history"]["no such key"] == []


def test_tags_are_set_and_deleted(training, hub):
    tags = hub.run(PROJECT, "first")["tags"]

    assert tags.items() >= {"team": "nlp", "stage": "pretrain", "gpu": "A100"}.items()
    assert tags["mlflow.note.content"] == "第一次"
    assert "gone" not in tags
    assert training["tags"] == tags | {"mlflow.runName": "first"}


def test_dataset_is_recorded(training, hub):
    assert hub.run(PROJECT, "first")["dataset"] == "papers"
    assert training["datasets"] == [["papers", "d1", {"mlflow.data.context": "training"}]]


def test_nested_run_names_its_parent(training, hub):
    parent = hub.runs(PROJECT)["first"]["id"]

    assert training["parent"] == parent
    assert hub.runs(PROJECT)["fold"]["tags"]["mlflow.parentRunId"] == parent


def test_files_become_artifacts(training, hub):
    files = hub.files(PROJECT, "files")

    assert {path: file["size_bytes"] for path, file in files.items()} == {
        "summary.txt": 12,
        "deep/er/summary.txt": 12,
        "all/summary.txt": 12,
        "all/plots/loss 1.png": 256,
        "config/model.json": 18,
        "large/large.bin": 5000,
        "笔记.txt": 6,
    }
    path = f"{hub.path_of(PROJECT, 'files')}/artifacts/files/all/plots/loss 1.png"
    assert hub.api.get(path).body == bytes(range(256))


def test_client_lists_folders(training):
    folders = training["folders"]

    assert folders[""] == [
        ["all", True, None],
        ["config", True, None],
        ["deep", True, None],
        ["large", True, None],
        ["summary.txt", False, 12],
        ["笔记.txt", False, 6],
    ]
    assert folders["all"] == [["all/plots", True, None], ["all/summary.txt", False, 12]]
    assert folders["nothing"] == []


def test_client_downloads_its_files(training):
    assert training["downloaded"]
    assert (training["text"], training["dict"]) == ("文字", {"layers": 12})


def test_system_metrics_are_recorded(training, hub):
    keys = hub.metrics(PROJECT, "measured").keys()

    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= keys


def test_script_that_raises_is_failed(training, hub):
    assert hub.runs(PROJECT)["broken"]["status"] == "已失败"


def test_asynchronously_logged_points_are_complete(training, hub):
    summaries = hub.metrics(PROJECT, "async")

    assert {key: summary["count"] for key, summary in summaries.items()} == {
        "loss": 300,
        "lr": 300,
        "last": 1,
    }
    assert summaries["loss"]["last"] == 299 / 7
    assert hub.run(PROJECT, "async")["hyperparameters"] == {"layers": "3"}


def test_autologging_flushes_its_queue(training, hub):
    run = hub.run(PROJECT, "autologged")

    assert (run["status"], run["tags"]["team"]) == ("已完成", "nlp")
    assert len(run["hyperparameters"]) == 120
    counts = {key: summary["count"] for key, summary in hub.metrics(PROJECT, "autologged").items()}
    assert counts == {"loss": 700, "accuracy": 700}


def test_link_printed_by_client_identifies_the_run(training, hub):
    """The browser resolves the fragment after the #: see tests/browser."""
    printed = re.search(r"View run first at: (\S+)", training.output).group(1)
    root, fragment = printed.split("#")

    assert root == hub.api.base_url + "/"
    match = re.fullmatch(r"/experiments/(\w+)/runs/(\w+)", fragment)
    run = hub.runs(PROJECT)["first"]
    assert match.groups() == (run["project_id"], run["id"])
    assert "pretrain" in hub.page(f"/projects/{match[1]}/runs/{match[2]}")


def test_script_without_experiment_or_end_run(client, hub):
    """The client ends the run when the interpreter exits."""
    client.run("bare")

    [run] = hub.runs("Default").values()
    assert (run["status"], run["metrics"]) == ("已完成", {"loss": 0.5})
    assert run["name"] == "run-001"


def test_script_resumes_run_and_changed_param_is_recorded(client, hub):
    experiment = hub.api.post("/api/2.0/mlflow/experiments/create", {"name": "再来"}).json
    run = hub.api.post("/api/2.0/mlflow/runs/create", experiment | {"run_name": "twice"}).json[
        "run"
    ]
    identity = {"run_id": run["info"]["run_id"]}
    params = [{"key": "layers", "value": "12"}, {"key": "learning_rate", "value": "3e-05"}]
    point = {"key": "loss", "value": 0.5, "timestamp": 1_700_000_000_000, "step": 1}
    batch = identity | {"params": params, "metrics": [point]}
    assert hub.api.post("/api/2.0/mlflow/runs/log-batch", batch).status == 200
    ended = identity | {"status": "FAILED", "end_time": 1_800_000_000_000}
    assert hub.api.post("/api/2.0/mlflow/runs/update", ended).status == 200

    resumed = client.run("resuming", MLFLOW_RUN_ID=identity["run_id"])

    assert resumed["is the same"]
    assert (resumed["status"], resumed["end time"]) == ("RUNNING", None)
    assert resumed["status after"] == "FINISHED"
    run = hub.run("再来", "twice")
    assert (run["status"], run["attempt"]) == ("已完成", 2)
    assert run["hyperparameters"] == {"layers": "12", "learning_rate": "0.0001"}
    assert hub.metrics("再来", "twice")["loss"]["count"] == 2
    assert "learning_rate: 3e-05 → 0.0001" in hub.page(hub.path_of("再来", "twice") + "/events")
