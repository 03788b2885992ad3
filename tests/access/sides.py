"""Two teams that do not see each other's projects: all that is one's secret, and whether it is
changed.

The secrets are read from the database: the ids of all rows that belong to the hidden team, and all
of their texts that have the marker in them. A model that is added later is in them as soon as
something here, or a signal, makes a row of it.
"""

import io
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib.auth.models import User
from django.db import models

from accounts.models import Team, Token
from accounts.roles import Role
from artifacts import storing, trash
from artifacts.kinds import TagValue
from artifacts.storage_quotas import StorageQuota
from dashboard.models import SavedView
from goodput.parts import Part
from logs.appending import append_log
from logs.lines import Line
from metrics.points import Point
from metrics.recording import record_metrics
from notices.actions import send_test
from projects.models import Project
from registry.approval import ask
from registry.checkpoint_policy import set_policy
from registry.evaluation_rules import create_rule
from registry.release_policy import change_policy
from runs.actions import resume_run, retry_run, try_recipe
from runs.checkpoint import Checkpoint
from runs.descriptions import describe
from runs.models import Recipe, RecipeKind, Run, RunCode
from runs.status import RunStatus
from sweeps.driving import advance
from tests.clients import ApiClient
from tests.code_bundles.bundles import bundle
from tests.execution.mirror.attempts import begin_on_nodes
from tests.factories import (
    DirectUploadFactory,
    RecipeFactory,
    RunFactory,
    UserFactory,
    WebhookFactory,
    WorkerFactory,
    checkpoint,
    running,
)
from tests.goodput.accounts import accounted
from tests.sweeps.searches import sweep_of

MLFLOW = "/api/2.0/mlflow"
SHORT = 6  # characters; ids are longer, and words of pages may be as short
NOW_MS = 1_780_000_000_000


@dataclass
class Side:
    """A team with a project that has something of everything. ``marker``: a word in all texts."""

    marker: str
    team: Team
    owner: User
    member: User
    project: Project
    done: Run  # completed; the others by their status
    active: Run
    queued: Run
    failed: Run
    checkpoint_id: str
    evaluation_id: str
    sweep_id: str
    view_id: str
    token_id: str
    code_sha256: str
    logged_model_id: str
    hook_id: str
    delivery_id: str
    rule_id: str
    request_id: str
    upload_id: str
    deletion_id: str

    @property
    def model(self) -> str:
        return f"{self.marker}-model"


def filled(marker: str) -> Side:
    owner = UserFactory(username=f"{marker}-owner")
    member = UserFactory(username=f"{marker}-member")
    team = Team.create(f"{marker} team", description=f"{marker} describes", by=owner)
    team.memberships.create(user=member, role=Role.MEMBER)
    project = _project(marker, team, owner)
    done, saved, evaluation_id = _completed(marker, project, owner)
    active, queued, failed = _others(marker, project, owner, done, saved)
    stored = bundle({f"{marker}.py": f"print('{marker}-code')\n"})
    RunCode.objects.create(run=done, bundle=stored, patch=f"+{marker}-patch\n")
    RunCode.objects.create(run=active, bundle=stored)
    sweep = sweep_of(project=project, by=owner, name=f"{marker}-sweep", metric=f"{marker}/loss")
    advance(sweep.pk)
    view = SavedView.create(
        project, owner=owner, name=f"{marker}-view", query=f"q={marker}-query", is_shared=True
    )
    token, secret = Token.issue(owner, name=f"{marker}-token")
    hook = WebhookFactory(project=project, name=f"{marker}-hook")
    recipe = RecipeFactory(kind=RecipeKind.EVALUATION)
    rule = create_rule(project, by=owner, recipe=recipe, every=2, run_name=f"{marker}-done")
    change_policy(project, by=owner, needs_approval=True)
    asked = ask(saved, notes=f"{marker}-asks", by=owner)
    set_policy(project, by=owner, metric=f"{marker}/loss", best=1)
    StorageQuota.objects.create(owner=f"{marker}-owner", max_bytes=10**9)
    removed = trash.trash(checkpoint(done, step=1), reason=f"{marker}-removed", by=owner)
    side = Side(
        marker, team, owner, member, project, done, active, queued, failed, saved.pk,
        evaluation_id, sweep.pk, view.pk, token.pk, stored.pk, "",
        hook.pk, send_test(hook).pk, rule.pk, asked.pk,
        DirectUploadFactory(run=done, file=f"{marker}-large.bin").pk, removed.pk,
    )  # fmt: skip
    side.logged_model_id = _registered(side, secret)
    return side


def _project(marker: str, team: Team, owner: User) -> Project:
    texts = ("name", "description", "objective", "task_type", "base_model", "owner")
    project = Project.create(
        {
            **{field: f"{marker}-{field}" for field in texts},
            "tags": [f"{marker}-tag"],
            "default_hyperparameters": {f"{marker}_default": f"{marker}-default-value"},
        },
        by=owner,
        team=team,
    )
    project.revise({"description": f"{marker}-second-description"}, by=owner)
    Project.objects.filter(pk=project.pk).update(key_metrics=[f"{marker}/loss"])
    project.refresh_from_db()
    return project


def _run(marker: str, name: str, make=RunFactory, **fields) -> Run:
    return make(
        name=f"{marker}-{name}",
        model=f"{marker}-{name}-weights",
        dataset=f"{marker}-{name}-corpus",
        hyperparameters={f"{marker}_{name}": f"{marker}-{name}-value", "max_steps": 100},
        gpu_type="A100",
        gpu_count=2,
        **fields,
    )


def _completed(marker: str, project: Project, owner: User) -> tuple[Run, Any, str]:
    run = _run(marker, "done", running, project=project, created_by=owner)
    points = [Point(f"{marker}/loss", step, 1.0 / (step + 1), NOW_MS + step) for step in range(5)]
    record_metrics(run, points)
    append_log(run, [Line.new(f"{marker}-line is printed")])
    saved = checkpoint(run, content=f"{marker}-bytes".encode())
    results = json.dumps({"results": {f"{marker}_task": {"acc,none": 0.5}}}).encode()
    evaluation = storing.store_evaluation(run, io.BytesIO(results), step=100)
    saved.tag(TagValue.CANDIDATE, notes=f"{marker}-candidate", by=owner)
    saved.tag(TagValue.RELEASED, notes=f"{marker}-release", by=owner)
    describe(run, by=owner, notes=f"{marker}-note", tags={f"{marker}-key": f"{marker}-text"})
    run.refresh_from_db()
    run.transition(RunStatus.COMPLETED)
    accounted(run=run, hours={Part.TRAINING: 2, Part.WAITING: 1})
    return run, saved, evaluation.pk


def _others(
    marker: str, project: Project, owner: User, done: Run, saved: Any
) -> tuple[Run, Run, Run]:
    worker = WorkerFactory()
    fields = {"project": project, "created_by": owner}
    active = _run(marker, "active", running, worker=worker, **fields)
    record_metrics(active, [Point(f"{marker}/active", 1, 0.5, NOW_MS)])
    begin_on_nodes(active)
    queued = _run(marker, "queued", **fields)
    failed = _run(
        marker, "failed", status=RunStatus.FAILED, status_reason=f"{marker}-error", **fields
    )
    retry_run(failed, by=owner)
    resume_run(
        done, Checkpoint(saved.pk, 5), by=owner, name=f"{marker}-resumed",
        hyperparameters={"max_steps": 200},
    )  # fmt: skip
    try_recipe(Recipe.objects.get(name="simulated"), project, by=owner)
    return active, queued, failed


def _registered(side: Side, secret: str) -> str:
    """As MLflow's clients do it; the id of the logged model."""
    client, marker, run = bearer(secret), side.marker, side.done.pk
    experiment = side.project.pk
    pair = {"key": f"{marker}-model-key", "value": f"{marker}-model-value"}

    def send(path: str, **body: Any) -> Any:
        response = client.post_json(f"{MLFLOW}/{path}", body)
        assert response.status_code == 200, response.content
        return response.json()

    tag = {"key": f"{marker}-experiment-key", "value": f"{marker}-experiment-value"}
    send("experiments/set-experiment-tag", experiment_id=experiment, **tag)
    logged = send(
        "logged-models",
        experiment_id=experiment,
        name=f"{marker}-logged",
        source_run_id=run,
        params=[pair],
        tags=[pair],
    )
    model_id: str = logged["model"]["info"]["model_id"]
    metric = {"key": f"{marker}/logged", "value": 1, "timestamp": NOW_MS, "step": 1}
    script = send("runs/create", experiment_id=experiment, run_name=f"{marker}-script")
    script_id = script["run"]["info"]["run_id"]
    send("runs/log-batch", run_id=script_id, metrics=[{**metric, "model_id": model_id}])
    dataset = {
        "name": f"{marker}-data", "digest": f"{marker}", "source_type": "local",
        "source": f"{marker}-source",
    }  # fmt: skip
    send("runs/log-inputs", run_id=script_id, datasets=[{"dataset": dataset}])
    send("runs/outputs", run_id=script_id, models=[{"model_id": model_id, "step": 1}])
    send("registered-models/create", name=side.model, description=f"{marker}-about", tags=[pair])
    source = f"mlflow-artifacts:/{experiment}/{run}/artifacts/checkpoints"
    send(
        "model-versions/create",
        name=side.model,
        source=source,
        run_id=run,
        description=f"{marker}-version",
        tags=[pair],
    )
    send("registered-models/alias", name=side.model, alias=f"{marker}-alias", version="1")
    prompt = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    prompt.append({"key": "mlflow.prompt.text", "value": f"{marker}-prompt-text"})
    send("registered-models/create", name=f"{marker}-prompt", tags=prompt[:1])
    send("model-versions/create", name=f"{marker}-prompt", source="dummy", tags=prompt)
    return model_id


def bearer(secret: str) -> ApiClient:
    headers = {"authorization": f"Bearer {secret}", "accept-language": "en"}
    return ApiClient(headers=headers, raise_request_exception=False)


# --- what is secret, and whether it has changed --------------------------------------------------

Rows = dict[type[models.Model], set[Any]]  # the keys of rows by model


def all_rows() -> Rows:
    return {
        model: set(model._default_manager.order_by().values_list("pk", flat=True))
        for model in all_models()
    }


def rows_since(before: Rows) -> Rows:
    """Those that have been made since, without what is everybody's."""
    shared = {"worker", "session", "recipe", "gpupool", "permission", "contenttype"}
    return {
        model: new
        for model, keys in all_rows().items()
        if model._meta.model_name not in shared and (new := keys - before[model])
    }


def secrets_of(rows: Rows, marker: str) -> set[str]:
    """The ids among the keys, and every text that has the marker in it."""
    found = set()
    for model, keys in rows.items():
        found |= {key for key in keys if isinstance(key, str) and len(key) > SHORT}
        for row in model._default_manager.filter(pk__in=list(keys)).values():
            for value in row.values():
                found |= {text for text in _texts(value) if marker in text and len(text) < 200}
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (str(key), *_texts(item))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def state_of(rows: Rows) -> dict[str, list[str]]:
    """All of these rows, and all that refer to one of them, as they are now. Whoever knows the name
    of a user may invite them, which is no change of theirs."""
    state: dict[str, list[str]] = defaultdict(list)
    for model in all_models():
        chosen = models.Q(pk__in=list(rows.get(model, ())))
        for field in model._meta.concrete_fields:
            of = field.related_model
            if field.is_relation and of is not User and rows.get(of):
                chosen |= models.Q(**{f"{field.name}__in": list(rows[of])})
        found = model._default_manager.filter(chosen).order_by("pk").values()
        state[model._meta.label] = [repr(sorted(row.items(), key=str)) for row in found]
    return state


def all_models() -> list[type[models.Model]]:
    return [model for model in apps.get_models() if model._meta.managed and not model._meta.proxy]
