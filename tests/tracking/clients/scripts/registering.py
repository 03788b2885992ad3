"""The model registry: a checkpoint becomes a version of a registered model."""

import json
import sys
from pathlib import Path

import mlflow
import mlflow.pyfunc
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

told = {}
client = MlflowClient()
mlflow.set_experiment("登记")

with mlflow.start_run(run_name="trained") as run:
    run_id = run.info.run_id
    for step in (100, 200):
        Path(f"model-step={step}.ckpt").write_bytes(b"weights" * step)
        mlflow.log_artifact(f"model-step={step}.ckpt", "checkpoints")

# mlflow.register_model would do in 2.x; in 3.x it takes what log_model has logged and nothing else.
client.create_registered_model("summary")
for step in (100, 200):
    version = client.create_model_version(
        "summary", f"{run.info.artifact_uri}/checkpoints/model-step={step}.ckpt", run_id
    )
    told[f"version {step}"] = [version.name, str(version.version), version.status]
client.set_registered_model_alias("summary", "candidate", "1")
client.transition_model_version_stage("summary", "2", "Production")
client.set_registered_model_tag("summary", "task", "summarization")
client.update_model_version("summary", "2", description="BLEU 32.5")

told["by alias"] = str(client.get_model_version_by_alias("summary", "candidate").version)
told["aliases"] = {
    alias: str(version) for alias, version in client.get_registered_model("summary").aliases.items()
}
told["latest"] = {
    version.current_stage: str(version.version)
    for version in client.get_latest_versions("summary", ["Staging", "Production"])
}
told["found"] = sorted(
    str(version.version) for version in client.search_model_versions("name = 'summary'")
)
told["models"] = [model.name for model in client.search_registered_models("name LIKE 'sum%'")]
told["description"] = client.get_model_version("summary", "2").description
# Not by "models:/summary@candidate": what is behind that clients take for a folder.
address = client.get_model_version_download_uri("summary", "1")
told["fetched"] = Path(mlflow.artifacts.download_artifacts(address)).stat().st_size
try:
    client.create_registered_model("summary")
except MlflowException as error:
    told["taken"] = error.error_code
try:
    client.get_registered_model("no such model")
except MlflowException as error:
    told["unknown"] = error.error_code

# --- a model as MLflow knows them ------------------------------------------------------------

with mlflow.start_run(run_name="pyfunc"):
    Path("weights.bin").write_bytes(b"weights" * 300)
    logged = mlflow.pyfunc.log_model(
        "model",
        artifacts={"weights": "weights.bin"},
        python_model=mlflow.pyfunc.PythonModel(),
        pip_requirements=["torch"],  # else it looks for what it needs, which takes long
    )
    version = mlflow.register_model(logged.model_uri, "served")
client.set_registered_model_alias("served", "champion", version.version)
folder = Path(mlflow.artifacts.download_artifacts("models:/served@champion"))
told["pyfunc"] = sorted(path.name for path in folder.iterdir())

Path(sys.argv[1]).write_text(json.dumps(told))
