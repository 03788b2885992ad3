"""Typical training scripts that use the mlflow fluent API."""

import json
import os
import sys
import time
from pathlib import Path

import mlflow
import mlflow.data
import numpy
from mlflow.utils.autologging_utils.client import MlflowAutologgingQueueingClient

client = mlflow.MlflowClient()
results = {"experiment": mlflow.set_experiment("论文摘要").experiment_id}

# --- everything a run can have ---------------------------------------------------------------

with mlflow.start_run(run_name="first", tags={"team": "nlp"}, description="第一次") as run:
    results["run"] = run.info.run_id
    results["params returned"] = mlflow.log_param("seed", 7)
    mlflow.log_params({"learning_rate": 3e-5, "optimizer": "adamw", "prompt": "长" * 7000})
    for step in range(5):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.log_metrics({"eval/accuracy": 0.5, "eval/f1": 0.25}, step=4)
    mlflow.log_metrics({"nan": float("nan"), "up": float("inf"), "down": float("-inf")}, step=1)
    mlflow.set_tag("stage", "pretrain")
    mlflow.set_tags({"gpu": "A100", "gone": "soon"})
    mlflow.delete_tag("gone")
    data = mlflow.data.from_numpy(numpy.zeros((4, 2)), name="papers", digest="d1")
    mlflow.log_input(data, context="training")

    with mlflow.start_run(run_name="fold", nested=True) as fold:
        mlflow.log_metric("loss", 0.5)
    results["parent"] = client.get_run(fold.info.run_id).data.tags["mlflow.parentRunId"]

    stored = client.get_run(run.info.run_id)
    results["metrics"] = {key: str(value) for key, value in stored.data.metrics.items()}
    results["params"] = stored.data.params
    results["tags"] = stored.data.tags
    results["datasets"] = [
        [entry.dataset.name, entry.dataset.digest, {tag.key: tag.value for tag in entry.tags}]
        for entry in stored.inputs.dataset_inputs
    ]
    results["history"] = {
        key: [
            [point.step, str(point.value)]
            for point in client.get_metric_history(results["run"], key)
        ]
        for key in ("loss", "nan", "no such key")
    }
results["ended"] = client.get_run(results["run"]).info.status

# --- files -----------------------------------------------------------------------------------

with mlflow.start_run(run_name="files") as run:
    Path("outputs/plots").mkdir(parents=True)
    Path("outputs/summary.txt").write_text("一切顺利", encoding="utf-8")
    Path("outputs/plots/loss 1.png").write_bytes(bytes(range(256)))
    mlflow.log_artifact("outputs/summary.txt")
    mlflow.log_artifact("outputs/summary.txt", "deep/er")
    mlflow.log_artifacts("outputs", "all")
    mlflow.log_dict({"layers": 12}, "config/model.json")
    mlflow.log_text("文字", "笔记.txt")
    # Clients use multipart uploads from 500 MB on; lower the limit to test the fallback.
    os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"] = "true"
    os.environ["MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE"] = "1000"
    Path("large.bin").write_bytes(b"large" * 1000)
    mlflow.log_artifact("large.bin", "large")
    results["folders"] = {
        folder: [[file.path, file.is_dir, file.file_size] for file in entries]
        for folder in ("", "all", "config", "nothing")
        for entries in [client.list_artifacts(run.info.run_id, folder)]
    }
    folder = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="all"))
    results["downloaded"] = (folder / "plots" / "loss 1.png").read_bytes() == bytes(range(256))
    results["text"] = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/笔记.txt")
    results["dict"] = mlflow.artifacts.load_dict(run.info.artifact_uri + "/config/model.json")

# --- system metrics --------------------------------------------------------------------------

mlflow.set_system_metrics_sampling_interval(0.05)
mlflow.set_system_metrics_samples_before_logging(1)
with mlflow.start_run(run_name="measured", log_system_metrics=True) as run:
    deadline = time.monotonic() + 60
    while "system/cpu_utilization_percentage" not in client.get_run(run.info.run_id).data.metrics:
        assert time.monotonic() < deadline
        time.sleep(0.02)

# --- a failing run, and asynchronous logging -------------------------------------------------

try:
    with mlflow.start_run(run_name="broken"):
        raise RuntimeError("CUDA out of memory")
except RuntimeError:
    pass

with mlflow.start_run(run_name="async"):
    mlflow.log_params({"layers": 3}, synchronous=False)
    for step in range(300):
        mlflow.log_metrics({"loss": step / 7, "lr": step / 9}, step=step, synchronous=False)
    mlflow.log_metric("last", 1, synchronous=False).wait()

# --- the client of mlflow.autolog, which queues everything and sends batches -----------------

queue = MlflowAutologgingQueueingClient()
# Its run_name argument has no effect.
tags = {"mlflow.runName": "autologged", "team": "nlp"}
pending = queue.create_run(results["experiment"], tags=tags)
queue.log_params(pending, {f"param_{number}": number for number in range(120)})
for step in range(700):
    queue.log_metrics(pending, {"loss": step / 7, "accuracy": step / 700}, step=step)
queue.set_terminated(pending, "FINISHED")
queue.flush(synchronous=True)

Path(sys.argv[1]).write_text(json.dumps(results))
