"""Every address of the server, asked for with the ids of two sides: see tests/access/sides.py."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.test import Client

from runs.models import Worker
from tests.access import addresses as every
from tests.access.sides import MLFLOW, NOW_MS, Side

# Whose answers are the same for everybody, or are Django's own.
WITHOUT_PROJECTS = {
    "/", "/admin", "/docs", "/redoc", "/schema", "/favicon.ico", "/healthz", "/readyz", "/health",
    "/version", "/signed-in", "/v1/traces", "/dashboard/", "/logout", "/api/.*",
    "/api/3.0/mlflow/server-info", "/dashboard/language", "/dashboard/theme",
}  # fmt: skip
SIGN_IN = "/login"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Ask:
    """A request. ``body``: of a form for pages, JSON for the others."""

    method: str
    path: str
    query: dict[str, Any] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def is_page(self) -> bool:
        return self.path.startswith("/dashboard")

    @property
    def said(self) -> str:
        """All that the answer may repeat."""
        return f"{self.path} {json.dumps(self.query)} {json.dumps(self.body)}"

    def send(self, client: Client) -> Any:
        query = urlencode(self.query, doseq=True)
        path = f"{self.path}?{query}" if query else self.path
        if self.method == "GET":
            return client.get(path)
        if self.is_page:
            return client.generic(
                self.method, path, urlencode(self.body, doseq=True),
                content_type="application/x-www-form-urlencoded",
            )  # fmt: skip
        return client.generic(
            self.method, path, json.dumps(self.body), content_type="application/json"
        )

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.query or ''} {self.body or ''}".strip()


@dataclass(frozen=True)
class Route:
    """``text``: with {name} in the place of each argument."""

    text: str

    @property
    def arguments(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.text)

    @property
    def is_page(self) -> bool:
        return self.text.startswith("/dashboard")

    @property
    def protocol_path(self) -> str:
        """Of MLflow's protocol, below its prefix."""
        return self.text.removeprefix(f"{MLFLOW}/")


def routes() -> list[Route]:
    """All that may tell of projects."""
    return [
        Route(text)
        for text in every.addresses()
        if text not in WITHOUT_PROJECTS and not text.startswith(SIGN_IN)
    ]


# --- what its arguments are ----------------------------------------------------------------------


def argument(name: str, route: Route, of: Side) -> str:
    """Raises KeyError for a name that nothing here is known of: then say what it means."""
    if name == "id":
        return _id(route, of)
    if name == "path" and "mlflow-artifacts" in route.text:
        return f"{of.project.pk}/{of.done.pk}/artifacts/checkpoints"
    return {
        "project_id": of.project.pk,
        "run_id": of.done.pk,
        "artifact_id": of.checkpoint_id,
        "sweep_id": of.sweep_id,
        "view_id": of.view_id,
        "team_id": of.team.pk,
        "token_id": of.token_id,
        "user_id": str(of.member.pk),
        "username": of.member.username,
        "sha256": of.code_sha256,
        "model_id": of.logged_model_id,
        "tag_key": f"{of.marker}-model-key",
        "path": "checkpoints",
        "worker_id": str(Worker.objects.values_list("pk", flat=True).first()),
        "name": "simulated",  # of a recipe
        "action": "pause",  # of a sweep
        "number": "1",
        "rank": "0",
        "hook_id": of.hook_id,
        "deed": "test",  # of a webhook
        "delivery_id": of.delivery_id,
        "rule_id": of.rule_id,
        "request_id": of.request_id,
        "deletion_id": of.deletion_id,
    }[name]


def _id(route: Route, of: Side) -> str:
    ids = {
        "artifacts": of.checkpoint_id,
        "uploads": of.upload_id,
        "sweeps": of.sweep_id,
        "runs": of.done.pk,
        "projects": of.project.pk,
        "teams": of.team.pk,
        "tokens": of.token_id,
        "release-requests": of.request_id,
        "evaluation-rules": of.rule_id,
        "webhooks": of.hook_id,
        "checkpoint-deletions": of.deletion_id,
    }
    return ids[route.text.partition("/{id}")[0].rpartition("/")[2]]


# In which order the arguments of an address become a stranger's own.
OUTER = ("project_id", "team_id", "run_id")


def addresses(route: Route, hidden: Side, own: Side) -> Iterator[tuple[str, bool]]:
    """With the hidden ids; with its own for the outer ones, too; and with its own ones alone: each
    with whether something hidden is named."""
    outer = [name for name in OUTER if name in route.arguments]
    for count in range(len(outer) + 1):
        mine = set(outer[:count])
        if not mine.issuperset(route.arguments):
            yield _address(route, hidden, own, mine), True
    yield _address(route, hidden, own, set(route.arguments)), False


def _address(route: Route, hidden: Side, own: Side, mine: set[str]) -> str:
    values = {
        name: argument(name, route, own if name in mine else hidden) for name in route.arguments
    }
    return route.text.format(**values)


# --- what is asked -------------------------------------------------------------------------------


def reads(route: Route, hidden: Side, own: Side) -> Iterator[Ask]:
    """Pages below the stranger's own address, or of no address, also name hidden rows."""
    for path, names_hidden in addresses(route, hidden, own):
        is_page_of_own = route.is_page and not names_hidden
        if not (is_page_of_own and route.arguments):
            yield Ask("GET", path)
        if is_page_of_own:
            yield Ask("GET", path, page_query(hidden))


def writes(route: Route, hidden: Side, own: Side) -> Iterator[Ask]:
    for path, names_hidden in addresses(route, hidden, own):
        if not names_hidden and route.arguments:
            continue  # what they may
        for method in METHODS[1:2] if route.is_page else METHODS[1:]:
            body = form(hidden) if route.is_page else {}
            yield Ask(method, path, {}, body)


def page_query(hidden: Side) -> dict[str, Any]:
    return {
        "project": hidden.project.pk,
        "run": [hidden.done.pk, hidden.active.pk],
        "runs": f"{hidden.done.pk},{hidden.active.pk}",
        "baseline": hidden.done.pk,
        "key": f"{hidden.marker}/loss",
        "keys": f"{hidden.marker}/loss",
        "person": str(hidden.owner.pk),
        "against": hidden.done.pk,
        "checkpoint": hidden.checkpoint_id,
        "view": hidden.view_id,
        "sweep": hidden.sweep_id,
        "q": hidden.marker,
        "team": hidden.team.pk,
    }


def form(hidden: Side) -> dict[str, Any]:
    return {
        **page_query(hidden),
        "id": hidden.done.pk,
        "ids": hidden.done.pk,
        "name": "wanted",
        "username": hidden.member.username,
        "user": str(hidden.member.pk),
        "role": "40",
        "project_id": hidden.project.pk,
        "scope": "admin",
        "action": "archive",
        "tag": "发布",
        "value": "发布",
        "notes": "wanted",
        "priority": "7",
        "pool": "A100",
        "capacity": "1",
        "gpu_type": "A100",
    }


def queries(hidden: Side, own: Side) -> list[Ask]:
    """Of the API: addresses that take ids in their queries."""
    project, run = hidden.project.pk, hidden.done.pk
    mine = f"/projects/{own.project.pk}"
    my_run = f"{mine}/runs/{own.done.pk}"
    return [
        Ask("GET", "/goodput", {"project_id": project}),
        Ask("GET", "/storage", {"project_id": project}),
        *(Ask("GET", "/storage", {"group_by": by}) for by in ("run", "project", "owner")),
        *(
            Ask("GET", "/goodput", {"by": by, "format": format})
            for by in ("project", "owner", "user", "pool", "month", "day", "run")
            for format in ("json", "csv")
        ),
        Ask("GET", "/get-artifact", {"run_id": run, "path": "checkpoints"}),
        Ask("GET", "/get-artifact", {"run_uuid": run, "path": "checkpoints"}),
        Ask("GET", f"{mine}/runs", {"sweep": hidden.sweep_id}),
        Ask("GET", f"{my_run}/code/diff", {"against": run}),
        Ask("GET", f"{my_run}/logs", {"q": f"{hidden.marker}-line"}),
    ]


def creations(hidden: Side, own: Side) -> list[Ask]:
    """Of the API: what names hidden rows in its body or query, below the stranger's own address."""
    mine = f"/projects/{own.project.pk}"
    source = {"source_artifact_id": hidden.checkpoint_id}
    code = {"code": {"sha256": hidden.code_sha256}, "recipe": "with-code"}
    user = hidden.member.username
    space = {"learning_rate": {"type": "float", "low": 0.1, "high": 0.2}}
    objective = {"metric": "loss"}
    return [
        Ask("POST", f"{mine}/runs/{own.done.pk}/resume", source),
        Ask("POST", f"{mine}/runs/{hidden.done.pk}/resume", source),
        Ask("POST", f"{mine}/runs", {}, code),
        Ask("POST", f"{mine}/sweeps", {}, {**code, "search_space": space, "objective": objective}),
        Ask("POST", "/tokens", {}, {"name": "mine", "project_id": hidden.project.pk}),
        Ask("PUT", f"/projects/{hidden.project.pk}/members/{user}", {}, {"role": "owner"}),
        Ask("PATCH", f"{mine}/access", {}, {"team": hidden.team.pk}),
    ]


def mlflow(hidden: Side, own: Side) -> dict[str, list[Ask]]:
    """Of the protocol: path below /api/2.0/mlflow -> requests. One with hidden ids and one of the
    stranger's own row that names hidden ones, where there is a way."""
    run, mine, project = {"run_id": hidden.done.pk}, {"run_id": own.done.pk}, hidden.project.pk
    experiment, model = {"experiment_id": project}, {"name": hidden.model}
    experiments = {"experiment_ids": [project], "max_results": 100}
    version, pair = {**model, "version": "1"}, {"key": "k", "value": "v"}
    metric = {"key": "m", "value": 1.0, "timestamp": NOW_MS, "step": 1}
    of_model = {**metric, "model_id": hidden.logged_model_id}
    text = f"%{hidden.marker}%"
    source = f"mlflow-artifacts:/{project}/{hidden.done.pk}/artifacts/checkpoints"
    model_json = json.dumps({"artifact_path": "m", "flavors": {}, "run_id": hidden.done.pk})
    own_model = {"name": own.model}
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {
        "runs/log-metric": [("POST", {**run, **metric}), ("POST", {**mine, **of_model})],
        "runs/log-batch": [
            ("POST", {**run, "metrics": [metric], "params": [pair], "tags": [pair]}),
            ("POST", {**mine, "metrics": [of_model]}),
        ],
        "metrics/get-history": [("GET", {**run, "metric_key": f"{hidden.marker}/loss"})],
        "runs/create": [
            ("POST", experiment),
            ("POST", {
                "experiment_id": own.project.pk,
                "tags": [{"key": "mlflow.parentRunId", "value": hidden.done.pk}],
            }),
        ],
        "runs/get": [("GET", run), ("GET", {"run_uuid": hidden.done.pk})],
        "runs/update": [("POST", {**run, "status": "FAILED", "run_name": "taken"})],
        "runs/delete": [("POST", run)],
        "runs/restore": [("POST", run)],
        "runs/search": [
            ("POST", experiments),
            ("POST", {"experiment_ids": [project, own.project.pk]}),
            ("POST", {
                "experiment_ids": [own.project.pk], "filter": f"attributes.run_name LIKE '{text}'",
            }),
        ],
        "runs/log-parameter": [("POST", {**run, **pair})],
        "runs/set-tag": [("POST", {**run, **pair})],
        "runs/delete-tag": [("POST", {**run, "key": f"{hidden.marker}-key"})],
        "runs/log-inputs": [
            ("POST", {**run, "models": [{"model_id": own.logged_model_id}]}),
            ("POST", {**mine, "models": [{"model_id": hidden.logged_model_id}]}),
        ],
        "runs/outputs": [
            ("POST", {**run, "models": [{"model_id": own.logged_model_id, "step": 1}]}),
            ("POST", {**mine, "models": [{"model_id": hidden.logged_model_id, "step": 1}]}),
        ],
        "runs/log-model": [("POST", {**run, "model_json": model_json})],
        "experiments/create": [("POST", {"name": hidden.project.name})],
        "experiments/get": [("GET", experiment)],
        "experiments/get-by-name": [("GET", {"experiment_name": hidden.project.name})],
        "experiments/search": [
            ("POST", {"max_results": 1000}),
            ("GET", {"max_results": 1000}),
            ("POST", {"filter": f"name LIKE '{text}'", "max_results": 10}),
        ],
        "experiments/update": [("POST", {**experiment, "new_name": "taken"})],
        "experiments/delete": [("POST", experiment)],
        "experiments/restore": [("POST", experiment)],
        "experiments/set-experiment-tag": [("POST", {**experiment, **pair})],
        "experiments/delete-experiment-tag": [
            ("POST", {**experiment, "key": f"{hidden.marker}-experiment-key"})
        ],
        "artifacts/list": [
            ("GET", run),
            ("GET", {**run, "path": "checkpoints"}),
            ("GET", {**mine, "path": f"../{hidden.done.pk}"}),
        ],
        "registered-models/create": [("POST", model)],
        "registered-models/get": [("GET", model)],
        "registered-models/rename": [("POST", {**model, "new_name": "taken"})],
        "registered-models/update": [("PATCH", {**model, "description": "taken"})],
        "registered-models/delete": [("DELETE", model)],
        "registered-models/search": [
            ("GET", {"max_results": 100}), ("GET", {"filter": f"name LIKE '{text}'"}),
        ],
        "registered-models/get-latest-versions": [("POST", model), ("GET", model)],
        "registered-models/set-tag": [("POST", {**model, **pair})],
        "registered-models/delete-tag": [
            ("DELETE", {**model, "key": f"{hidden.marker}-model-key"})
        ],
        "registered-models/alias": [
            ("POST", {**version, "alias": "taken"}),
            ("GET", {**model, "alias": f"{hidden.marker}-alias"}),
            ("GET", {**model, "alias": "released"}),
            ("DELETE", {**model, "alias": f"{hidden.marker}-alias"}),
        ],
        "model-versions/create": [
            ("POST", {**model, "source": "s3://elsewhere/model"}),
            ("POST", {**own_model, "source": source, "run_id": own.done.pk}),
            ("POST", {**own_model, "source": f"runs:/{hidden.done.pk}/checkpoints"}),
            ("POST", {**own_model, "source": f"models:/{hidden.model}/1"}),
            ("POST", {**own_model, "source": f"models:/{hidden.logged_model_id}"}),
            ("POST", {**own_model, "source": "s3://elsewhere/m", "run_id": hidden.done.pk}),
            ("POST", {
                **own_model, "source": "s3://elsewhere/m", "model_id": hidden.logged_model_id,
            }),
        ],
        "model-versions/get": [("GET", version)],
        "model-versions/update": [("PATCH", {**version, "description": "taken"})],
        "model-versions/delete": [("DELETE", version)],
        "model-versions/search": [
            ("GET", {"max_results": 100}),
            ("GET", {"filter": f"name='{hidden.model}'"}),
            ("GET", {"filter": f"run_id='{hidden.done.pk}'"}),
        ],
        "model-versions/get-download-uri": [("GET", version)],
        "model-versions/transition-stage": [
            ("POST", {**version, "stage": "Archived", "archive_existing_versions": False}),
        ],
        "model-versions/set-tag": [("POST", {**version, **pair})],
        "model-versions/delete-tag": [("DELETE", {**version, "key": f"{hidden.marker}-model-key"})],
        "logged-models": [
            ("POST", {**experiment, "name": "m"}),
            ("POST", {
                "experiment_id": own.project.pk, "name": "m", "source_run_id": hidden.done.pk,
            }),
        ],
        "logged-models/search": [
            ("POST", {"experiment_ids": [project]}),
            ("POST", {"experiment_ids": [project, own.project.pk]}),
        ],
    }  # fmt: skip
    return {
        path: [
            Ask(method, f"{MLFLOW}/{path}", body if method == "GET" else {},
                {} if method == "GET" else body)
            for method, body in asked
        ]
        for path, asked in found.items()
    }  # fmt: skip
