"""Projects, runs and checkpoints by what people call them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from trainhub_client.api import Api
from trainhub_client.errors import NotFound, UsageError

ID = re.compile(r"[A-Za-z0-9_\-]{1,64}")
MAX_LISTED = 10


def project_id(api: Api, given: str = "") -> str:
    """``given``: an id or a name; empty: the default project. Raises NotFound, UsageError."""
    wanted = given or api.config.project
    if not wanted:
        raise UsageError(
            "No project is chosen: name one with --project, or set a default: trainhub use PROJECT"
        )
    if wanted.startswith("proj_") and ID.fullmatch(wanted):
        return wanted
    found = [item["id"] for item in api.pages("/projects") if item["name"] == wanted]
    if not found and ID.fullmatch(wanted):
        found = [str(api.get(f"/projects/{wanted}")["id"])]
    return _only(found, f"project {wanted}")


@dataclass(frozen=True)
class RunPath:
    """Where the API has a run."""

    project: str
    id: str

    @property
    def url(self) -> str:
        return f"/projects/{self.project}/runs/{self.id}"

    def detail(self, api: Api) -> dict[str, Any]:
        run: dict[str, Any] = api.get(self.url)
        return run


def run_path(api: Api, given: str, project: str = "") -> RunPath:
    """The run of that id, else of that name, else the only one whose id begins so; of the project.
    Raises NotFound, UsageError."""
    its_project = project_id(api, project)
    runs = f"/projects/{its_project}/runs"
    if ID.fullmatch(given):
        try:
            return RunPath(its_project, str(api.get(f"{runs}/{given}")["id"]))
        except NotFound:
            pass
    named = [run["id"] for run in api.pages(runs, name=given) if run["name"] == given]
    if not named and ID.fullmatch(given):
        named = [run["id"] for run in api.pages(runs, id=given)]
    return RunPath(its_project, _only(named, f"run {given}"))


def _only(found: list[str], what: str) -> str:
    if not found:
        raise NotFound(f"There is no {what}.", "not_found")
    if len(found) > 1:
        listed = ", ".join(found[:MAX_LISTED]) + (" …" if len(found) > MAX_LISTED else "")
        raise UsageError(f"Several are called {what}: {listed}. Name one by its id.", "ambiguous")
    return found[0]


def split_step(text: str) -> tuple[str, int | None]:
    """RUN[@STEP]"""
    name, at, step = text.rpartition("@")
    return (
        (name, int(step)) if at and name and step.isascii() and step.isdecimal() else (text, None)
    )


def checkpoint_of(api: Api, run: RunPath, step: int | None) -> dict[str, Any]:
    """The run's newest checkpoint, or the one of that step; whole ones alone. Raises NotFound."""
    listed = api.pages(f"{run.url}/artifacts", type="checkpoint")
    whole = [item for item in listed if not item.get("metadata", {}).get("damage")]
    matching = [item for item in whole if step is None or item["step"] == step]
    if not matching:
        steps = ", ".join(str(item["step"]) for item in whole) or "none"
        where = "" if step is None else f" at step {step}"
        raise NotFound(f"{run.id} has no checkpoint{where}; it has: {steps}.", "not_found")
    newest: dict[str, Any] = max(matching, key=lambda item: (item["step"] or 0, item["updated_at"]))
    return newest


def artifact_of(api: Api, text: str, project: str = "") -> dict[str, Any]:
    """An artifact by its id, RUN@STEP (a checkpoint) or RUN:PATH (a file). Raises NotFound."""
    run_name, colon, path = text.partition(":")
    if colon and path:
        run = run_path(api, run_name, project)
        return _file_of(api, run, path)
    name, step = split_step(text)
    if step is None and ID.fullmatch(text):
        try:
            found: dict[str, Any] = api.get(
                f"/projects/{project_id(api, project)}/artifacts/{quote(text)}"
            )
            return found
        except NotFound:
            pass
    return checkpoint_of(api, run_path(api, name, project), step)


def _file_of(api: Api, run: RunPath, path: str) -> dict[str, Any]:
    wanted = path.strip("/")
    for item in api.pages(f"{run.url}/artifacts"):
        if path_of(item) == wanted:
            found: dict[str, Any] = item
            return found
    raise NotFound(f"{run.id} has no file {wanted}.", "not_found")


def path_of(artifact: dict[str, Any]) -> str:
    """Within its run: of s3://bucket/project/run/[files/]path."""
    _bucket, _project, _run, path = str(artifact["path"]).removeprefix("s3://").split("/", 3)
    return path.removeprefix("files/")
