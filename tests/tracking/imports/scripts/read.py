"""Writes down all that MLflow's client reads from a server, without what names the server.

Usage: read.py ADDRESS FILE
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import ViewType

mlflow.set_tracking_uri(sys.argv[1])
client = MlflowClient()


def all_pages(search, **arguments):
    token = None
    while True:
        page = search(page_token=token, **arguments)
        yield from page
        token = page.token
        if not token:
            return


def experiment_facts(experiment):
    return {
        "stage": experiment.lifecycle_stage,
        "created": experiment.creation_time,
        "tags": experiment.tags,
        "runs": {
            run.info.run_id: run_facts(run.info.run_id)
            for run in all_pages(
                client.search_runs,
                experiment_ids=[experiment.experiment_id],
                run_view_type=ViewType.ALL,
                max_results=100,
            )
        },
        "models": {
            model.model_id: model_facts(model)
            for model in client.search_logged_models([experiment.experiment_id])
        },
    }


def run_facts(run_id):
    run = client.get_run(run_id)
    info = run.info
    return {
        "info": [info.run_name, info.status, info.start_time, info.end_time, info.lifecycle_stage],
        # What MLflow's server says of a run whose client has named nobody.
        "user": info.user_id.replace("unknown", ""),
        "params": run.data.params,
        "tags": run.data.tags,
        "latest": {key: repr(value) for key, value in run.data.metrics.items()},
        "history": {
            key: sorted((m.step, m.timestamp, repr(m.value)) for m in histories(run_id, key))
            for key in run.data.metrics
        },
        "datasets": [
            [
                # TrainHub has an empty text for what was not said.
                {name: text or "" for name, text in item.dataset.to_dictionary().items()},
                sorted((tag.key, tag.value) for tag in item.tags),
            ]
            for item in run.inputs.dataset_inputs
        ],
        "outputs": [[item.model_id, item.step] for item in run.outputs.model_outputs],
        "files": {} if info.lifecycle_stage == "deleted" else files_of(f"runs:/{run_id}/"),
    }


def histories(run_id, key):
    return client.get_metric_history(run_id, key)


def model_facts(model):
    return {
        "facts": [model.name, model.model_type, str(model.status), model.creation_timestamp],
        "source": [model.source_run_id, model.params, model.tags],
        "metrics": [[m.key, m.value, m.timestamp, m.step, m.run_id] for m in model.metrics or ()],
        "files": files_of(f"models:/{model.model_id}"),
    }


def files_of(uri):
    with tempfile.TemporaryDirectory() as folder:
        local = Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder))
        return {
            str(path.relative_to(local)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(local.rglob("*"))
            if path.is_file() and path.name != "registered_model_meta"
        }


def registered_facts(model):
    return {
        "created": model.creation_timestamp,
        "changed": model.last_updated_timestamp,
        "description": model.description,
        "tags": model.tags,
        "aliases": {alias: str(version) for alias, version in model.aliases.items()},
        "versions": {
            version.version: [
                version.current_stage,
                version.description,
                version.source,
                version.run_id,
                version.tags,
                version.creation_timestamp,
            ]
            for version in client.search_model_versions(f"name='{model.name}'")
        },
    }


def prompt_facts(name):
    prompt = client.get_prompt_version(name, 1)
    return [prompt.template, prompt.commit_message, prompt.tags]


found = client.search_experiments(view_type=ViewType.ALL)
facts = {
    "experiments": {e.name: experiment_facts(e) for e in found if e.name != "Default"},
    "models": {m.name: registered_facts(m) for m in client.search_registered_models()},
    "prompt": prompt_facts("greet"),
}
Path(sys.argv[2]).write_text(json.dumps(facts, indent=1, sort_keys=True))
