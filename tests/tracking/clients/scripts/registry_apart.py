"""What clients find of runs, logged models and versions that are not where they might be."""

import json
import sys
from pathlib import Path

import mlflow
import mlflow.pyfunc
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.rest_utils import http_request

results = {}
client = MlflowClient()
credentials = client._tracking_client.store.get_host_creds


def code_of(function, *arguments, **options):
    """The code of the error that the call raises; "" if it raises none."""
    try:
        function(*arguments, **options)
    except MlflowException as error:
        return error.error_code
    return ""


# --- experiments and runs --------------------------------------------------------------------

experiment = client.create_experiment("给人试的")
run_id = client.create_run(experiment).info.run_id
http_request(
    credentials(),
    "/api/2.0/mlflow/runs/update",
    "POST",
    json={"run_id": run_id, "status": "SCHEDULED"},
)
results["scheduled"] = client.get_run(run_id).info.status

client.delete_experiment(experiment)
results["run of a deleted experiment"] = client.get_run(run_id).info.lifecycle_stage
results["active runs of it"] = len(client.search_runs([experiment]))
results["its metric"] = code_of(client.log_metric, run_id, "loss", 1)
client.restore_experiment(experiment)
results["run of a restored experiment"] = client.get_run(run_id).info.lifecycle_stage
client.delete_experiment(experiment)
results["name is free"] = code_of(client.create_experiment, "给人试的") == ""

# --- versions --------------------------------------------------------------------------------

elsewhere = "0123456789abcdef0123456789abcdef"
client.create_registered_model("apart")
version = client.create_model_version("apart", "s3://bucket/models/x", run_id=elsewhere)
results["version of a run elsewhere"] = [str(version.version), version.run_id == elsewhere]
for source in ("/etc", "file:///etc"):
    answer = http_request(
        credentials(),
        "/api/2.0/mlflow/model-versions/create",
        "POST",
        json={"name": "apart", "source": source},
    )
    results[f"version from {source}"] = answer.status_code
before = client.get_registered_model("apart").last_updated_timestamp
client.transition_model_version_stage("apart", "1", "Staging")
results["stage moves the model"] = (
    client.get_registered_model("apart").last_updated_timestamp > before
)

# --- a run's files ---------------------------------------------------------------------------

mlflow.set_experiment("整个下载")
with mlflow.start_run() as run:
    mlflow.log_text("a", "a.txt")
    named = {"name": "model"} if mlflow.__version__.startswith("3.") else {"artifact_path": "model"}
    mlflow.pyfunc.log_model(
        python_model=mlflow.pyfunc.PythonModel(), pip_requirements=["torch"], **named
    )
results["files"] = sorted(file.path for file in client.list_artifacts(run.info.run_id))

# --- logged models, which 2.x does not know --------------------------------------------------

if hasattr(client, "create_logged_model"):
    experiment = client.create_experiment("只有模型")
    model = client.create_logged_model(experiment, name="agent")
    results["logged model without a run"] = [
        model.source_run_id or "",
        len(client.search_runs([experiment])),
    ]
    results["tag that is not there"] = code_of(
        client.delete_logged_model_tag, model.model_id, "nope"
    )
    model_elsewhere = client.create_logged_model(experiment, source_run_id="123")
    results["logged model of a run elsewhere"] = model_elsewhere.source_run_id
    client.create_model_version("apart", model.artifact_location, model_id=model.model_id)
    tags = client.get_logged_model(model.model_id).tags
    results["versions of a logged model"] = json.loads(tags["mlflow.modelVersions"])

    mlflow.genai.register_prompt(name="greeting", template="hi {{x}}")
    results["prompt"] = mlflow.genai.load_prompt("prompts:/greeting/1").template
    results["prompts among models"] = [
        len(client.search_registered_models("name = 'greeting'")),
        len(client.search_model_versions("name = 'greeting'")),
    ]
    answer = http_request(credentials(), "/api/3.0/mlflow/traces", "POST", json={"trace": {}})
    results["trace"] = [answer.status_code, answer.json()["error_code"], answer.json()["message"]]

Path(sys.argv[1]).write_text(json.dumps(results))
