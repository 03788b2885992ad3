"""A training whose token works for its own run alone: TRAINHUB_RUN_ID, as its worker set it."""

import json
import os
import sys
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException


def refusal(action):
    try:
        action()
    except MlflowException as error:
        return {"code": error.error_code, "message": str(error)}
    return None


results = {}
project = os.environ["PROJECT"]
mlflow.set_experiment(project)
with mlflow.start_run() as run:
    results["run"] = run.info.run_id
    mlflow.log_params({"layers": 12, "heads": 4})
    for step in (1, 2, 3):
        mlflow.log_metrics({"loss": 1 / step}, step=step)
    mlflow.set_tag("team", "nlp")
    mlflow.log_text("done", "notes.txt")
    results["text"] = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/notes.txt")
    with mlflow.start_run(nested=True, run_name="fold") as fold:
        mlflow.log_metric("loss", 0.5)
        results["fold"] = fold.info.run_id
    results["found"] = [
        found.info.run_id for found in MlflowClient().search_runs([run.info.experiment_id])
    ]
    results["other run"] = refusal(lambda: MlflowClient().get_run(os.environ["OTHER_RUN"]))
    results["other experiment"] = refusal(lambda: mlflow.set_experiment("another"))
    results["registry"] = refusal(lambda: MlflowClient().create_registered_model("model"))

Path(sys.argv[1]).write_text(json.dumps(results))
