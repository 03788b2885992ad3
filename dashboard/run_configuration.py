"""What a run was made of: its configuration, and what is known of its code, data and host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from projects.models import Version
from runs.descriptions import NOTE_TAG, SYSTEM_PREFIX, own_tags
from runs.models import DatasetInput, Run, RunCode
from runs.models.run_queryset import PARENT_TAG
from runs.params_tags import NAME_TAG

CODE: Final = {
    "mlflow.source.git.commit": "commit",
    "mlflow.source.git.branch": "branch",
    "mlflow.source.git.repoURL": "repository",
    "mlflow.source.name": "source",
    "mlflow.source.type": "source_type",
    "mlflow.project.entryPoint": "entry_point",
    "mlflow.user": "user",
}
SHOWN_ELSEWHERE: Final = frozenset({NOTE_TAG, NAME_TAG, PARENT_TAG})


@dataclass(frozen=True, slots=True)
class Configuration:
    """``requested``: the hyperparameters that it was created with, where its script has reported
    others; ``code``: MLflow's tags of it, by a plain name; ``environment``: its other system tags;
    ``versions``: of the project since the one that the run has; ``has_code``: it brought some."""

    hyperparameters: dict[str, Any]
    requested: dict[str, Any]
    code: dict[str, str]
    environment: dict[str, str]
    datasets: list[DatasetInput]
    versions: list[Version]
    has_code: bool
    json: str


def configuration(run: Run) -> Configuration:
    hyperparameters = dict(sorted(run.hyperparameters.items()))
    requested = run.requested_hyperparameters or {}
    code = {name: run.tags[tag] for tag, name in CODE.items() if run.tags.get(tag)}
    datasets = list(run.dataset_inputs.defer("schema", "profile"))
    versions = [] if run.project.version <= run.project_version else run.project.versions()
    return Configuration(
        hyperparameters=hyperparameters,
        requested={
            key: value
            for key, value in sorted(requested.items())
            if run.hyperparameters.get(key) != value
        },
        code=code,
        has_code=RunCode.objects.filter(run=run).exists(),
        environment={
            key: text
            for key, text in sorted(run.tags.items())
            if key.startswith(SYSTEM_PREFIX) and key not in CODE and key not in SHOWN_ELSEWHERE
        },
        datasets=datasets,
        versions=[version for version in versions if version.number > run.project_version],
        json=_as_json(run, hyperparameters, code, datasets),
    )


def _as_json(
    run: Run, hyperparameters: dict[str, Any], code: dict[str, str], datasets: list[DatasetInput]
) -> str:
    content = {
        "id": run.pk,
        "name": run.name,
        "project": run.project_id,
        "project_version": run.project_version,
        "model": run.model,
        "dataset": run.dataset,
        "recipe": run.recipe_id,
        "resources": run.resources,
        "priority": run.priority,
        "hyperparameters": hyperparameters,
        "tags": own_tags(run),
        "code": code,
        "datasets": [
            {"name": dataset.name, "digest": dataset.digest, "source": dataset.source}
            for dataset in datasets
        ],
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()
