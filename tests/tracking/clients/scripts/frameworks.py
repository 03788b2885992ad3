"""The calls that the loggers of two frameworks make, in the same order, without needing torch.

Hugging Face: transformers.integrations.MLflowCallback. Lightning: MLFlowLogger, log_model="all".
"""

import json
import os
import pickle
import sys
import tempfile
import time
from pathlib import Path

import mlflow
import mlflow.pyfunc
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

results = {}


# --- Hugging Face, report_to="mlflow" --------------------------------------------------------


def hugging_face(experiment, run_name, steps):
    mlflow.set_experiment(experiment)
    mlflow.start_run(run_name=run_name, nested=False)
    arguments = {f"argument_{number}": number for number in range(230)} | {
        "output_dir": "out",
        "learning_rate": 5e-5,
        "deepspeed": None,
        "fsdp_config": {"min_num_params": 0, "xla": False},
        "logging_dir": "",  # an empty value is valid
    }
    items = list(arguments.items())
    for start in range(0, len(items), 100):
        mlflow.log_params(dict(items[start : start + 100]), synchronous=False)
    mlflow.set_tags({"team": "nlp"})  # MLFLOW_TAGS
    for step in steps:
        logs = {"loss": 4 / step, "grad_norm": 1.5, "learning_rate": 5e-5, "epoch": step / 10}
        mlflow.log_metrics(metrics=logs, step=step, synchronous=False)
    save(Path("out") / f"checkpoint-{steps[-1]}")
    mlflow.log_metrics(
        metrics={"train_runtime": 3.5, "train_loss": 0.7, "total_flos": 1e18},
        step=steps[-1],
        synchronous=False,
    )
    results["hugging face"] = mlflow.active_run().info.run_id
    mlflow.end_run()


def save(checkpoint):
    """on_save, with HF_MLFLOW_LOG_ARTIFACTS=1."""
    checkpoint.mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt", "trainer_state.json"):
        (checkpoint / name).write_bytes(name.encode() * 1000)
    mlflow.pyfunc.log_model(
        checkpoint.name,
        artifacts={"model_path": str(checkpoint)},
        python_model=mlflow.pyfunc.PythonModel(),
        pip_requirements=["torch"],  # inferring them is slow
    )


hugging_face("微调", "hugging-face", steps=[10, 20, 30])


# --- Lightning -------------------------------------------------------------------------------


class Lightning:
    def __init__(self, experiment, run_name):
        self.client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
        mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
        existing = self.client.get_experiment_by_name(experiment)
        project = (
            existing.experiment_id
            if existing is not None
            else self.client.create_experiment(name=experiment, artifact_location=None)
        )
        tags = resolve_tags({MLFLOW_RUN_NAME: run_name})
        self.run = self.client.create_run(experiment_id=project, tags=tags).info.run_id

    def log_hyperparams(self, values):
        params = [Param(key=key, value=str(value)) for key, value in values.items()]
        for start in range(0, len(params), 100):
            self.client.log_batch(run_id=self.run, params=params[start : start + 100])

    def log_metrics(self, values, step):
        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, step or 0) for key, value in values.items()]
        self.client.log_batch(run_id=self.run, metrics=metrics)

    def after_save_checkpoint(self, path, *, score, is_best):
        folder = Path(path).stem
        self.client.log_artifact(self.run, path, folder)
        with tempfile.TemporaryDirectory(dir=os.getcwd()) as directory:
            (Path(directory) / "metadata.yaml").write_text(
                f"Checkpoint:\n  mode: min\n  monitor: val_loss\n  save_top_k: 2\n"
                f"original_filename: {Path(path).name}\nscore: {score}\n"
            )
            (Path(directory) / "aliases.txt").write_text(
                str(["latest", "best"] if is_best else ["latest"])
            )
            self.client.log_artifacts(self.run, directory, folder)

    def finalize(self):
        if self.client.get_run(self.run):
            self.client.set_terminated(self.run, "FINISHED")


lightning = Lightning("lightning_logs", "lightning")
lightning.log_hyperparams({"lr": 0.001, "model/layers": 12})
for epoch in range(2):
    step = 100 * (epoch + 1)
    lightning.log_metrics({"val_loss": 0.5 / (epoch + 1), "epoch": epoch}, step)
    path = f"epoch={epoch}-step={step}.ckpt"
    Path(path).write_bytes(b"weights" * 1000)
    lightning.after_save_checkpoint(path, score=0.5 / (epoch + 1), is_best=epoch == 1)
lightning.finalize()
results["lightning"] = lightning.run


# --- DeepSpeed and PyTorch DCP, logged by a script -------------------------------------------

mlflow.set_experiment("sharded")
with mlflow.start_run(run_name="sharded"):
    Path("global_step100").mkdir()
    for name in [
        "mp_rank_00_model_states.pt",
        *(f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt" for rank in range(4)),
    ]:
        Path("global_step100", name).write_bytes(name.encode())
    mlflow.log_artifacts("global_step100", "global_step100")
    Path("epoch=2-step=300.ckpt").mkdir()
    shards = pickle.dumps({"storage_data": ["__0_0.distcp"]})
    for name, content in {"__0_0.distcp": b"0", ".metadata": shards, "meta.pt": b"m"}.items():
        Path("epoch=2-step=300.ckpt", name).write_bytes(content)
        mlflow.log_artifact(f"epoch=2-step=300.ckpt/{name}", "epoch=2-step=300.ckpt")

Path(sys.argv[1]).write_text(json.dumps(results))
