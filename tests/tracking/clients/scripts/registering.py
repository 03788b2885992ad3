"""Registering checkpoints and logged models in the model registry."""

import json
import sys
from pathlib import Path

import mlflow
import mlflow.pyfunc
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

results = {}
client = MlflowClient()
mlflow.set_experiment("登记")

with mlflow.start_run(run_name="trained") as run:
    run_id = run.info.run_id
    for step in (100, 200):
        Path(f"model-step={step}.ckpt").write_bytes(b"weights" * step)
        mlflow.log_artifact(f"model-step={step}.ckpt", "checkpoints")

# mlflow.register_model would work in 2.x; in 3.x it accepts only models logged by log_model.
client.create_registered_model("summary")
for step in (100, 200):
    version = client.create_model_version(
        "summary", f"{run.info.artifact_uri}/checkpoints/model-step={step}.ckpt", run_id
    )
    results[f"version {step}"] = [version.name, str(version.version), version.status]
client.set_registered_model_alias("summary", "candidate", "1")
client.transition_model_version_stage("summary", "2", "Production")
client.set_registered_model_tag("summary", "task", "summarization")
client.update_model_version("summary", "2", description="BLEU 32.5")

results["by alias"] = str(client.get_model_version_by_alias("summary", "candidate").version)
results["aliases"] = {
    alias: str(version) for alias, version in client.get_registered_model("summary").aliases.items()
}
results["latest"] = {
    version.current_stage: str(version.version)
    for version in client.get_latest_versions("summary", ["Staging", "Production"])
}
results["matches"] = sorted(
    str(version.version) for version in client.search_model_versions("name = 'summary'")
)
results["models"] = [model.name for model in client.search_registered_models("name LIKE 'sum%'")]
results["description"] = client.get_model_version("summary", "2").description
# Not by "models:/summary@candidate": clients assume that it refers to a folder.
uri = client.get_model_version_download_uri("summary", "1")
results["downloaded bytes"] = Path(mlflow.artifacts.download_artifacts(uri)).stat().st_size
try:
    client.create_registered_model("summary")
except MlflowException as error:
    results["taken"] = error.error_code
try:
    client.get_registered_model("no such model")
except MlflowException as error:
    results["unknown"] = error.error_code

# --- a logged model --------------------------------------------------------------------------

with mlflow.start_run(run_name="pyfunc"):
    Path("weights.bin").write_bytes(b"weights" * 300)
    logged = mlflow.pyfunc.log_model(
        "model",
        artifacts={"weights": "weights.bin"},
        python_model=mlflow.pyfunc.PythonModel(),
        pip_requirements=["torch"],  # inferring them is slow
    )
    version = mlflow.register_model(logged.model_uri, "served")
client.set_registered_model_alias("served", "champion", version.version)
folder = Path(mlflow.artifacts.download_artifacts("models:/served@champion"))
results["pyfunc"] = sorted(path.name for path in folder.iterdir())

Path(sys.argv[1]).write_text(json.dumps(results))
