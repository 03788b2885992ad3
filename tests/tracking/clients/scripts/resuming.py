"""A script restarted with MLFLOW_RUN_ID and a different learning rate."""

import json
import os
import sys
from pathlib import Path

import mlflow

results = {}
client = mlflow.MlflowClient()
run_id = os.environ["MLFLOW_RUN_ID"]
with mlflow.start_run() as run:
    results["is the same"] = run.info.run_id == run_id
    info = client.get_run(run_id).info
    results["status"], results["end time"] = info.status, info.end_time
    mlflow.log_params({"layers": 12, "learning_rate": 1e-4})
    mlflow.log_metric("loss", 0.25, step=2)
results["status after"] = client.get_run(run_id).info.status
Path(sys.argv[1]).write_text(json.dumps(results))
