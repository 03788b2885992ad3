"""Trainings as people write them with mlflow's own functions."""

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
told = {"experiment": mlflow.set_experiment("论文摘要").experiment_id}

# --- all that a run may hold -----------------------------------------------------------------

with mlflow.start_run(run_name="first", tags={"team": "nlp"}, description="第一次") as run:
    told["run"] = run.info.run_id
    told["params returned"] = mlflow.log_param("seed", 7)
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
    told["parent"] = client.get_run(fold.info.run_id).data.tags["mlflow.parentRunId"]

    seen = client.get_run(run.info.run_id)
    told["metrics"] = {key: str(value) for key, value in seen.data.metrics.items()}
    told["params"] = seen.data.params
    told["tags"] = seen.data.tags
    told["datasets"] = [
        [given.dataset.name, given.dataset.digest, {tag.key: tag.value for tag in given.tags}]
        for given in seen.inputs.dataset_inputs
    ]
    told["history"] = {
        key: [
            [point.step, str(point.value)] for point in client.get_metric_history(told["run"], key)
        ]
        for key in ("loss", "nan", "no such key")
    }
told["ended"] = client.get_run(told["run"]).info.status

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
    # As clients send 500 MB, where the server takes a file in parts.
    os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"] = "true"
    os.environ["MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE"] = "1000"
    Path("large.bin").write_bytes(b"large" * 1000)
    mlflow.log_artifact("large.bin", "large")
    told["folders"] = {
        folder: [[file.path, file.is_dir, file.file_size] for file in found]
        for folder in ("", "all", "config", "nothing")
        for found in [client.list_artifacts(run.info.run_id, folder)]
    }
    folder = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="all"))
    told["downloaded"] = (folder / "plots" / "loss 1.png").read_bytes() == bytes(range(256))
    told["text"] = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/笔记.txt")
    told["dict"] = mlflow.artifacts.load_dict(run.info.artifact_uri + "/config/model.json")

# --- the machine -----------------------------------------------------------------------------

mlflow.set_system_metrics_sampling_interval(0.05)
mlflow.set_system_metrics_samples_before_logging(1)
with mlflow.start_run(run_name="measured", log_system_metrics=True) as run:
    deadline = time.monotonic() + 60
    while "system/cpu_utilization_percentage" not in client.get_run(run.info.run_id).data.metrics:
        assert time.monotonic() < deadline
        time.sleep(0.02)

# --- one that breaks, and one that goes on without waiting -----------------------------------

try:
    with mlflow.start_run(run_name="broken"):
        raise RuntimeError("CUDA out of memory")
except RuntimeError:
    pass

with mlflow.start_run(run_name="in passing"):
    mlflow.log_params({"layers": 3}, synchronous=False)
    for step in range(300):
        mlflow.log_metrics({"loss": step / 7, "lr": step / 9}, step=step, synchronous=False)
    mlflow.log_metric("last", 1, synchronous=False).wait()

# --- as mlflow.autolog does it: all is queued, and sent in batches ---------------------------

queue = MlflowAutologgingQueueingClient()
# It takes a run_name too, and loses it.
tags = {"mlflow.runName": "autologged", "team": "nlp"}
pending = queue.create_run(told["experiment"], tags=tags)
queue.log_params(pending, {f"param_{number}": number for number in range(120)})
for step in range(700):
    queue.log_metrics(pending, {"loss": step / 7, "accuracy": step / 700}, step=step)
queue.set_terminated(pending, "FINISHED")
queue.flush(synchronous=True)

Path(sys.argv[1]).write_text(json.dumps(told))
