"""Reports to a server that requires sign-in, with various credentials."""

import json
import os
import sys
import time
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException


def report(name):
    """The run and its user, or the error code, message, and duration of the rejection."""
    started = time.monotonic()
    try:
        with mlflow.start_run(run_name=name) as run:
            mlflow.log_metric("loss", 0.5)
            mlflow.log_text("mine", "mine.txt")
            return {"run": run.info.run_id, "user": run.info.user_id}
    except MlflowException as error:
        rejection = {"code": error.error_code, "message": str(error)}
        return rejection | {"seconds": time.monotonic() - started}


def sign_in(**variables):
    for name in ("TOKEN", "USERNAME", "PASSWORD"):
        os.environ.pop(f"MLFLOW_TRACKING_{name}", None)
    os.environ.update({f"MLFLOW_TRACKING_{name}": text for name, text in variables.items()})


token = os.environ["TOKEN"]
# Use the client's default retries, which take minutes: a rejection must not be retried.
del os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
results = {}
sign_in(TOKEN=token)
results["token"] = report("by token")
sign_in(USERNAME="anything", PASSWORD=token)
results["password"] = report("by password")
sign_in(TOKEN="th_wrong")
results["wrong token"] = report("never")
sign_in(USERNAME="anything", PASSWORD="wrong")
results["wrong password"] = report("never")
sign_in()
results["none"] = report("never")

Path(sys.argv[1]).write_text(json.dumps(results))
