"""Every address of the server, and requests to all of them about one project."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.core.management import call_command
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.models import Team, Token
from accounts.roles import Role
from artifacts import trash, uploads
from artifacts.models import Artifact
from dashboard.models import SavedView
from notices.actions import send_test
from registry.approval import ask
from registry.checkpoint_policy import set_policy
from registry.evaluation_rules import create_rule
from registry.logged_models import LoggedModel
from registry.models import RegisteredModel, Source
from registry.release_policy import change_policy
from runs.actions import create_run
from runs.models import RecipeKind, RunCode
from sweeps.actions import create_sweep
from sweeps.driving import advance
from tests.code_bundles.bundles import bundle
from tests.execution.mirror.attempts import begin_on_nodes
from tests.factories import (
    DirectUploadFactory,
    GpuPoolFactory,
    ProjectFactory,
    RecipeFactory,
    UserFactory,
    WebhookFactory,
    WorkerFactory,
    member_of,
)
from tests.factories import checkpoint as make_checkpoint

ARGUMENT = re.compile(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)|<(?:\w+:)?(\w+)>")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
MLFLOW = "/api/2.0/mlflow/"


def addresses() -> list[str]:
    """Templates such as ``/projects/{project_id}/runs``, without the admin's."""
    found = dict.fromkeys(_walk(get_resolver().url_patterns, "/"))
    return [path for path in found if not path.startswith("/admin/")]


def _walk(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[str]:
    for pattern in patterns:
        path = prefix + _template(str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, path)
        else:
            yield path


def _template(pattern: str) -> str:
    named = ARGUMENT.sub(lambda match: f"{{{match[1] or match[2]}}}", pattern)
    return named.replace("^", "").replace(r"\Z", "").replace("$", "").replace("\\", "")


@dataclass
class World:
    """A project with one of everything in it. ``arguments``: of addresses, by name;
    ``for_all_projects``: those of the webhook of no project."""

    project: Any
    run: Any
    checkpoint: Artifact
    model: RegisteredModel
    logged_model: LoggedModel
    arguments: dict[str, str]
    for_all_projects: dict[str, str]

    def path(self, template: str) -> str:
        arguments = {**self.arguments, "id": self._id(template)}
        if template.endswith("/raw"):
            arguments["artifact_id"] = self.run.artifacts.get(file="picture.png").pk
        if template.startswith(("/webhooks/", "/dashboard/webhooks/")):
            arguments |= self.for_all_projects
        if "mlflow-artifacts" in template:
            root = f"{self.project.pk}/{self.run.pk}/artifacts"
            arguments["path"] = f"{root}/{self.checkpoint.file}"
        if "release-requests" in template:
            arguments["action"] = "withdraw"  # the others ask for more than a role
        return template.format(**arguments)

    def _id(self, template: str) -> str:
        """That of the last thing that the address names."""
        if "/uploads/{id}" in template:
            return self.arguments["upload_id"]
        if "/artifacts/{id}" in template:
            return self.checkpoint.pk
        if "/checkpoint-deletions/{id}" in template:
            return self.arguments["deletion_id"]
        if "/release-requests/{id}" in template:
            return self.arguments["request_id"]
        if "/evaluation-rules/{id}" in template:
            return self.arguments["rule_id"]
        if "/webhooks/{id}" in template:
            return self.arguments["hook_id"]
        if "/sweeps/{id}" in template:
            return self.arguments["sweep_id"]
        if template.startswith("/teams/{id}"):
            return self.arguments["team_id"]
        if template.startswith("/tokens/{id}"):
            return self.arguments["token_id"]
        return self.project.pk if template == "/projects/{id}" else self.run.pk

    def message(self, method: str, template: str) -> dict[str, Any]:
        """What a request to the address sends, so that only its caller's role can refuse it."""
        if template.startswith(MLFLOW):
            return self.mlflow_message(template.removeprefix(MLFLOW))
        if template == "/get-artifact":
            return {"run_id": self.run.pk, "path": self.checkpoint.file}
        if method == "GET":
            return {}
        if "/checkpoint-policy" in template:
            return {"last": 1} if method != "DELETE" else {}
        if template.endswith("/pools/resize"):
            return {"pool": "A100", "capacity": "8"}
        if template == "/projects/{project_id}/release-requests":
            return {"checkpoint_id": self.checkpoint.pk}
        if template.endswith(("/evaluate", "/evaluation-rules")):
            return {"recipe": self.arguments["recipe"]}
        if template.endswith("/tag"):
            return {"tag": "候选"}
        if "/members" in template:
            return {"role": "viewer"}
        if template == "/projects/{project_id}/access":
            return {"team": self.arguments["team_id"]}
        return {}

    def mlflow_message(self, name: str) -> dict[str, Any]:
        experiment = {"experiment_id": self.project.pk}
        run = {"run_id": self.run.pk}
        model = {"name": self.model.name}
        version = {**model, "version": "1"}
        special: dict[str, dict[str, Any]] = {
            "runs/log-metric": {**run, "key": "loss", "value": 1.0, "timestamp": 1, "step": 1},
            "runs/log-batch": {**run, "metrics": [], "params": [], "tags": []},
            "metrics/get-history": {**run, "metric_key": "loss"},
            "runs/create": experiment,
            "runs/search": {"experiment_ids": [self.project.pk]},
            "runs/log-parameter": {**run, "key": "a", "value": "b"},
            "runs/set-tag": {**run, "key": "a", "value": "b"},
            "runs/delete-tag": {**run, "key": "known"},
            "runs/log-model": {
                **run,
                "model_json": (
                    f'{{"run_id": "{self.run.pk}", "artifact_path": "m", "flavors": {{}}, '
                    '"utc_time_created": "2024-01-02 03:04:05"}'
                ),
            },
            "experiments/create": {"name": "another"},
            "experiments/get-by-name": {"experiment_name": self.project.name},
            "experiments/search": {},
            "experiments/update": {**experiment, "new_name": "another"},
            "experiments/set-experiment-tag": {**experiment, "key": "a", "value": "b"},
            "experiments/delete-experiment-tag": {**experiment, "key": "known"},
            "registered-models/create": {"name": "another"},
            "registered-models/rename": {**model, "new_name": "another"},
            "registered-models/search": {},
            "registered-models/set-tag": {**model, "key": "a", "value": "b"},
            "registered-models/delete-tag": {**model, "key": "a"},
            "registered-models/alias": {**version, "alias": "champion"},
            "model-versions/create": {**model, "source": f"runs:/{self.run.pk}/m", **run},
            "model-versions/search": {},
            "model-versions/transition-stage": {**version, "stage": "Staging"},
            "model-versions/set-tag": {**version, "key": "a", "value": "b"},
            "model-versions/delete-tag": {**version, "key": "a"},
            "logged-models": {**experiment, "name": "another"},
            "logged-models/search": {"experiment_ids": [self.project.pk]},
            "logged-models/{model_id}": {"status": "LOGGED_MODEL_READY"},
            "logged-models/{model_id}/tags": {"tags": [{"key": "a", "value": "b"}]},
            "logged-models/{model_id}/params": {"params": [{"key": "a", "value": "b"}]},
        }
        kind = name.split("/")[0]
        by_kind = {"experiments": experiment, "registered-models": model, "model-versions": version}
        return special.get(name, by_kind.get(kind, run))


def world() -> World:
    project = ProjectFactory()
    owner = member_of(project, Role.OWNER)
    run = create_run(project, by=owner, hyperparameters={"max_steps": 30, "save_steps": 5})
    call_command("advance_runs", steps=10, verbosity=0)
    run.refresh_from_db()
    type(run).objects.filter(pk=run.pk).update(tags={"known": "x"})
    type(project).objects.filter(pk=project.pk).update(experiment_tags={"known": "x"})
    checkpoint = Artifact.objects.checkpoints().filter(run=run).first()
    assert checkpoint is not None
    stored = bundle({"train.py": "print()"})
    RunCode.objects.create(run=run, bundle=stored)
    space = {"learning_rate": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True}}
    sweep = create_sweep(project, by=owner, search_space=space, metric="train_loss")
    advance(sweep.pk)
    begin_on_nodes(run)
    model = RegisteredModel.objects.register("secret-model", description="", tags={}, by=owner)
    source = Source(f"runs:/{run.pk}/m", "somewhere", run=run)
    model.add_version(source, run_link="", description="", tags={"a": "b"}, by=owner)
    model.set_alias("champion", 1, by=None)
    logged = LoggedModel.objects.create(
        project=project, source_run=run, name="logged", tags={"known": "x"}
    )
    team = Team.create("secret-team", by=owner)
    uploads.store(run, "notes.txt", io.BytesIO(b"notes"))
    uploads.store(run, "picture.png", io.BytesIO(b"\x89PNG\r\n\x1a\n"))
    view = SavedView.create(project, owner=owner, name="mine", query="", is_shared=True)
    GpuPoolFactory()
    other = UserFactory()
    project.roles.create(user=other, role=Role.VIEWER)
    hook = WebhookFactory(project=project, name="secret-hook")
    recipe = RecipeFactory(kind=RecipeKind.EVALUATION)
    rule = create_rule(project, by=owner, recipe=recipe, every=2)
    change_policy(project, by=owner, needs_approval=True)
    asked = ask(checkpoint, notes="", by=owner)
    set_policy(project, by=owner, last=5)
    removed = make_checkpoint(run, step=1)
    deletion = trash.trash(removed, reason="", by=owner)
    arguments = {
        "hook_id": hook.pk,
        "deed": "test",
        "delivery_id": send_test(hook).pk,
        "project_id": project.pk,
        "run_id": run.pk,
        "artifact_id": checkpoint.pk,
        "sha256": stored.pk,
        "sweep_id": sweep.pk,
        "request_id": asked.pk,
        "upload_id": DirectUploadFactory(run=run).pk,
        "deletion_id": deletion.pk,
        "rule_id": rule.pk,
        "recipe": recipe.pk,
        "model_id": logged.pk,
        "tag_key": "known",
        "view_id": view.pk,
        "team_id": team.pk,
        "token_id": Token.issue(owner)[0].pk,
        "worker_id": WorkerFactory().pk,
        "user_id": str(other.pk),
        "username": other.username,
        "name": "simulated",
        "action": "pause",
        "path": "notes.txt",
        "uidb64": "MQ",
        "token": "a-b",
        "number": "1",
        "rank": "0",
    }
    everywhere = WebhookFactory(project=None)
    for_all = {
        "id": everywhere.pk,
        "hook_id": everywhere.pk,
        "delivery_id": send_test(everywhere).pk,
    }
    return World(project, run, checkpoint, model, logged, arguments, for_all)
