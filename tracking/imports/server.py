"""What a running MLflow server has, read over its REST protocol.

https://mlflow.org/docs/latest/rest-api.html
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

from tracking.columns import PROMPT_TAG
from tracking.imports import messages
from tracking.imports.connection import Answer, Connection, ServerRefused

API: Final = "/api/2.0/mlflow"
PROXY: Final = "/api/2.0/mlflow-artifacts/artifacts"
RUNS_PER_PAGE: Final = 200
POINTS_PER_PAGE: Final = 25_000  # the most that servers give
MODELS_PER_PAGE: Final = 100


class MlflowServer(Connection):
    """Methods raise ServerAway, ServerRefused, Stopped."""

    # --- lists ---------------------------------------------------------------------------------

    def experiments(self) -> Iterator[messages.Experiment]:
        body = {"view_type": "ALL", "max_results": 1000}
        return self.pages(
            "POST", f"{API}/experiments/search", body, "experiments", messages.Experiment
        )

    def run_ids(self, experiment_id: str) -> Iterator[str]:
        """Oldest first: a run that is added meanwhile comes last."""
        body = {
            "experiment_ids": [experiment_id],
            "run_view_type": "ALL",
            "max_results": RUNS_PER_PAGE,
            "order_by": ["attributes.start_time ASC"],
        }
        for run in self.pages("POST", f"{API}/runs/search", body, "runs", messages.ListedRun):
            yield run.info.run_id

    def run(self, run_id: str) -> messages.Run:
        answer = self.json("GET", f"{API}/runs/get", {"run_id": run_id})
        return self.decoded(answer.get("run"), messages.Run)

    def history(self, run_id: str, key: str) -> Iterator[list[messages.Metric]]:
        """All points of a metric, a page at a time."""
        query = {"run_id": run_id, "metric_key": key, "max_results": POINTS_PER_PAGE}
        for page in self.raw_pages("GET", f"{API}/metrics/get-history", query):
            yield self.decoded(page.get("metrics", []), list[messages.Metric])

    def logged_models(self, experiment_id: str) -> Iterator[messages.LoggedModel]:
        """None of a server that has no such thing: before 3.0."""
        body = {"experiment_ids": [experiment_id], "max_results": 50}
        try:
            yield from self.pages(
                "POST", f"{API}/logged-models/search", body, "models", messages.LoggedModel
            )
        except ServerRefused as error:
            if error.status not in {404, 405}:
                raise

    def registered_models(self, *, prompts: bool) -> Iterator[messages.RegisteredModel]:
        """``prompts``: instead of models. Servers list them only if they are asked for."""
        query: dict[str, Any] = {"max_results": MODELS_PER_PAGE}
        if prompts:
            query["filter"] = f"tags.`{PROMPT_TAG}` = 'true'"
        return self.pages(
            "GET",
            f"{API}/registered-models/search",
            query,
            "registered_models",
            messages.RegisteredModel,
        )

    def versions(self, name: str, *, prompts: bool) -> Iterator[messages.ModelVersion]:
        quote_mark = '"' if "'" in name else "'"
        condition = f"name = {quote_mark}{name}{quote_mark}"
        if prompts:
            condition += f" AND tags.`{PROMPT_TAG}` = 'true'"
        query = {"filter": condition, "max_results": 1000, "order_by": "version_number ASC"}
        return self.pages(
            "GET", f"{API}/model-versions/search", query, "model_versions", messages.ModelVersion
        )

    # --- files ---------------------------------------------------------------------------------

    def files_of_run(self, run_id: str, folder: str = "") -> Iterator[messages.File]:
        """The files below ``folder``, without folders; paths are relative to the run's root."""
        query = {"run_id": run_id, "path": folder} if folder else {"run_id": run_id}
        path = f"{API}/artifacts/list"
        for entry in self.pages("GET", path, query, "files", messages.File):
            if not entry.is_dir:
                yield entry
            elif len(entry.path) > len(folder):  # it leads on
                yield from self.files_of_run(run_id, entry.path)

    def files_below(self, root: str, folder: str = "") -> Iterator[messages.File]:
        """The files in a folder of the artifact proxy; paths are relative to ``root``."""
        query = {"path": f"{root}/{folder}".rstrip("/")}
        for entry in self.pages("GET", PROXY, query, "files", messages.File):
            entry.path = f"{folder}/{entry.path}".lstrip("/")
            if not entry.is_dir:
                yield entry
            elif len(entry.path) > len(folder):
                yield from self.files_below(root, entry.path)

    @contextmanager
    def proxied(self, path: str) -> Iterator[Answer]:
        """A file of the artifact proxy."""
        with self.stream(f"{PROXY}/{quote(path)}", {}) as answer:
            yield answer

    @contextmanager
    def unproxied(self, run_id: str, path: str) -> Iterator[Answer]:
        """A file of a run whose artifacts are elsewhere, if the server can read them."""
        with self.stream("/get-artifact", {"run_uuid": run_id, "path": path}) as answer:
            yield answer
