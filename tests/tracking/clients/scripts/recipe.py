"""A training script started by a TrainHub worker, which sets the tracking URI and run id."""

import mlflow

with mlflow.start_run():
    mlflow.log_param("layers", 12)
    for step in (1, 2, 3):
        mlflow.log_metric("loss", 1 / step, step=step)
    mlflow.log_text("done", "notes.txt")
raise SystemExit(3)  # after the client has reported FINISHED
