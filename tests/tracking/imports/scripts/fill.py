"""Fills a server with what MLflow's client can log: 200 runs in three experiments, and models.

Usage: fill.py ADDRESS
"""

import sys
import tempfile
import time
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import LoggedModelOutput, Metric, Param, RunTag

RUNS = 200
LONG = 30_000  # points of a metric: more than a page of get-history
NOW = int(time.time() * 1000)

mlflow.set_tracking_uri(sys.argv[1])
client = MlflowClient()


def fill_run(experiment, number, parent=""):
    start = NOW - (RUNS - number) * 60_000
    tags = {"team": "自然语言", "mlflow.user": "ada", "mlflow.note.content": f"run *{number}*"}
    if parent:
        tags["mlflow.parentRunId"] = parent
    run = client.create_run(experiment, start_time=start, tags=tags, run_name=f"run {number}")
    run_id = run.info.run_id
    metrics = [
        Metric("loss", 4 / (step + 1) + number, start + step * 1000, step) for step in range(20)
    ]
    metrics += [Metric("eval/acc", 0.1 * number, start, 0), Metric("bytes", 2.0**60, start, -3)]
    if number % 10 == 0:
        metrics += [
            Metric("odd", float("nan"), start, 1),
            Metric("odd", float("inf"), start, 2),
            Metric("odd", float("-inf"), start + 1, 2),
            Metric("odd", 1.5, start + 2, 1),
        ]
    params = [Param("lr", "3e-5"), Param("layers", "[1, 2]"), Param("长", "字" * number)]
    client.log_batch(run_id, metrics, params, [RunTag("stage", f"{number % 3}")])
    return run_id


def log_files(run_id, number):
    with tempfile.TemporaryDirectory() as folder:
        for path, content in {
            "notes.txt": f"notes {number}\n".encode(),
            "empty.bin": b"",
            "plots/训练 loss.json": b'{"loss": 1}',
            f"checkpoints/checkpoint-{number}/weights.bin": bytes(range(256)) * 40,
        }.items():
            file = Path(folder) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        client.log_artifacts(run_id, folder)


def log_dataset(run_id):
    source = CodeDatasetSource(tags={"mlflow.source.name": "train.py"})
    dataset = MetaDataset(source, name="wiki", digest="abc123")
    with mlflow.start_run(run_id):
        mlflow.log_input(dataset, context="training", tags={"split": "all"})


experiments = [
    client.create_experiment("chat", tags={"mlflow.note.content": "about chat", "team": "a"}),
    client.create_experiment("微调/eval"),
    client.create_experiment("given up"),
]
run_ids = []
for number in range(RUNS):
    parent = run_ids[number - 1] if number % 7 == 1 else ""
    run_id = fill_run(experiments[number % 3], number, parent)
    run_ids.append(run_id)
    if number % 4 == 0:
        log_files(run_id, number)
    if number % 25 == 0:
        log_dataset(run_id)
    status = ("FINISHED", "FAILED", "KILLED", "FINISHED")[number % 4]
    client.set_terminated(run_id, status, end_time=NOW - (RUNS - number) * 50_000)

long_run = client.create_run(experiments[0], run_name="long").info.run_id
for first in range(0, LONG, 1000):
    points = [Metric("long", step / 7, NOW + step, step) for step in range(first, first + 1000)]
    client.log_batch(long_run, points)
client.set_terminated(long_run)
client.delete_run(run_ids[3])
client.delete_experiment(experiments[2])

# Models: logged ones, with files, and the registry.
for number in (0, 6):
    run_id = run_ids[number]
    model = client.create_logged_model(
        experiments[0],
        name=f"model-{number}",
        source_run_id=run_id,
        model_type="agent",
        params={"depth": "3"},
        tags={"mlflow.kind": "test"},
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "MLmodel").write_text(f"flavors: {{}}\nmodel_id: {model.model_id}\n")
        (Path(folder) / "data").mkdir()
        (Path(folder) / "data" / "weights.bin").write_bytes(b"w" * 5000)
        client.log_model_artifacts(model.model_id, folder)
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=19)])
    metric = Metric("acc", 0.5, NOW, 19, model_id=model.model_id, run_id=run_id)
    client.log_batch(run_id, [metric])
    name = f"assistant-{number}"
    client.create_registered_model(name, tags={"owner": "ada"}, description="a *model*")
    for _ in range(3):
        client.create_model_version(
            name,
            f"models:/{model.model_id}",
            run_id=run_id,
            model_id=model.model_id,
            tags={"checked": "yes"},
            description="a version",
        )
    client.create_model_version(name, f"runs:/{run_ids[4]}/checkpoints", run_id=run_ids[4])
    client.delete_model_version(name, "2")
    client.transition_model_version_stage(name, "3", "Staging")
    client.set_registered_model_alias(name, "champion", "3")
client.register_prompt("greet", "Hello {{name}}", commit_message="first", tags={"lang": "en"})
