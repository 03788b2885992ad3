"""One report to a server that asks who calls."""

import json
import os
import sys
import time
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException


def report(name):
    """The code and the text of the refusal, if it was refused, and the seconds that it took."""
    began = time.monotonic()
    try:
        with mlflow.start_run(run_name=name) as run:
            mlflow.log_metric("loss", 0.5)
            mlflow.log_text("mine", "mine.txt")
            return {"run": run.info.run_id, "user": run.info.user_id}
    except MlflowException as error:
        refusal = {"code": error.error_code, "message": str(error)}
        return refusal | {"seconds": time.monotonic() - began}


def sign_in(**variables):
    for name in ("TOKEN", "USERNAME", "PASSWORD"):
        os.environ.pop(f"MLFLOW_TRACKING_{name}", None)
    os.environ.update({f"MLFLOW_TRACKING_{name}": text for name, text in variables.items()})


token = os.environ["TOKEN"]
# The client's own number of attempts, which take minutes: a refusal must not be tried again.
del os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
told = {}
sign_in(TOKEN=token)
told["token"] = report("by token")
sign_in(USERNAME="anything", PASSWORD=token)
told["password"] = report("by password")
sign_in(TOKEN="th_wrong")
told["wrong token"] = report("never")
sign_in(USERNAME="anything", PASSWORD="wrong")
told["wrong password"] = report("never")
sign_in()
told["nobody"] = report("never")

Path(sys.argv[1]).write_text(json.dumps(told))
