"""Searching, deleting, and restoring runs and experiments."""

import json
import sys
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, ViewType
from mlflow.exceptions import MlflowException

results = {}
client = MlflowClient()

# --- runs ------------------------------------------------------------------------------------

experiment = client.create_experiment("搜索", tags={"team": "nlp"})
for number in range(4):
    with mlflow.start_run(experiment_id=experiment, run_name=f"run {number}"):
        mlflow.log_metric("loss", number / 4)
        mlflow.log_params({"layers": str(number), "optimizer": "adamw" if number else "sgd"})
        mlflow.set_tag("group", f"group {number % 2}")


def names(filter_string="", **options):
    runs = mlflow.search_runs([experiment], filter_string, output_format="list", **options)
    return [run.info.run_name for run in runs]


newest = ["metrics.loss DESC"]
results["matches"] = {
    filter_string: names(filter_string, order_by=["metrics.loss ASC"])
    for filter_string in (
        "",
        "metrics.loss < 0.5",
        "metrics.loss >= 0.25 AND params.optimizer = 'adamw'",
        "metrics.loss < 0.2 OR metrics.loss > 0.7",
        "tags.`group` = 'group 1'",
        "params.optimizer LIKE 'ada%'",
        "attributes.run_name ILIKE '%RUN 3'",
        "attributes.run_name IN ('run 1', 'run 2')",
        "attributes.status = 'FINISHED' and params.layers != '0'",
        "attributes.status = 'RUNNING'",
    )
}
results["ordered"] = names(order_by=["params.optimizer ASC", "metrics.loss DESC"])
results["pages"], token = [], None
while token != "":
    page = client.search_runs(
        [experiment], max_results=3, order_by=["metrics.loss ASC"], page_token=token
    )
    results["pages"].append([run.info.run_name for run in page])
    token = page.token or ""
results["columns"] = sorted(
    name for name in mlflow.search_runs([experiment]).columns if name.startswith(("metrics", "par"))
)
try:
    names("metrics.loss <<< 1")
except MlflowException as error:
    results["nonsense"] = error.error_code

# --- history longer than a page --------------------------------------------------------------

run = client.create_run(experiment, run_name="long").info.run_id
for start in range(0, 3000, 1000):
    steps = range(start, start + 1000)
    points = [Metric("loss", step / 7, 1_700_000_000_000 + step, step) for step in steps]
    client.log_batch(run, metrics=points)
history = client.get_metric_history(run, "loss")
expected = [(step, step / 7, 1_700_000_000_000 + step) for step in range(3000)]
results["history"] = [(at.step, at.value, at.timestamp) for at in history] == expected

# --- experiments -----------------------------------------------------------------------------

other = client.create_experiment("搜索之外")
client.set_experiment_tag(other, "team", "vision")


def experiments(filter_string, **options):
    matches = client.search_experiments(filter_string=filter_string, **options)
    return [experiment.name for experiment in matches]


results["experiments"] = {
    filter_string: experiments(filter_string, order_by=["name ASC"])
    for filter_string in ("name LIKE '搜索%'", "tags.team = 'nlp'", "name = '搜索之外'")
}
client.rename_experiment(other, "另一个")
results["renamed"] = client.get_experiment(other).name
try:
    client.create_experiment("搜索")
except MlflowException as error:
    results["taken"] = error.error_code
results["unknown"] = client.get_experiment_by_name("no such experiment")

# --- trash -----------------------------------------------------------------------------------

first = client.search_runs([experiment], "attributes.run_name = 'run 0'")[0].info.run_id
client.set_terminated(run)
client.delete_run(first)
results["without the deleted"] = names("attributes.run_name LIKE 'run %'", order_by=newest)
results["deleted"] = names(run_view_type=ViewType.DELETED_ONLY)
try:
    client.log_metric(first, "loss", 1)
except MlflowException as error:
    results["into the trash"] = error.error_code
client.restore_run(first)
results["restored"] = client.get_run(first).info.lifecycle_stage
client.delete_run(client.search_runs([experiment], "attributes.run_name = 'run 1'")[0].info.run_id)

client.delete_experiment(other)
results["experiment deleted"] = client.get_experiment(other).lifecycle_stage
results["deleted experiments"] = experiments("", view_type=ViewType.DELETED_ONLY)
client.restore_experiment(other)
results["experiment restored"] = client.get_experiment(other).lifecycle_stage
client.delete_experiment(other)
try:
    mlflow.set_experiment(experiment_id=other)
except MlflowException as error:
    results["deleted cannot be used"] = error.error_code

Path(sys.argv[1]).write_text(json.dumps(results))
