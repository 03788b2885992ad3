"""What people do with runs: submit, cancel, resume, tag them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from trainhub_client import packing
from trainhub_client.api import Api
from trainhub_client.commands.reading import follow_to_the_end
from trainhub_client.errors import ExitCode, NotFound, UsageError
from trainhub_client.following import patiently
from trainhub_client.lookups import RunPath, checkpoint_of, project_id, run_path, split_step
from trainhub_client.output import (
    TERMINAL,
    colored_status,
    local_time,
    note,
    print_json,
    print_line,
    size,
    status_of,
    table,
)
from trainhub_client.shell import AsJson, Project, RunName, command, connected
from trainhub_client.submitting import hyperparameters, upload_folder

app = typer.Typer()

ACTIVE = ("排队中", "运行中")
CHECKPOINT_TAGS = {"candidate": "候选", "released": "发布", "archived": "归档"}
POLL_SECONDS = 0.5

Param = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="NAME=VALUE", help="A hyperparameter. Repeatable."),
]
Recipe = Annotated[str, typer.Option("--recipe", "-r", help="Default: the default recipe.")]
Name = Annotated[str, typer.Option("--name", "-n", help="Default: run-001, run-002 …")]
Gpus = Annotated[int | None, typer.Option(min=0, help="How many GPUs, on each node.")]
GpuType = Annotated[str | None, typer.Option(help="Their type.")]
Nodes = Annotated[int | None, typer.Option(min=1, help="On how many nodes.")]
Priority = Annotated[int | None, typer.Option(min=-100, max=100, help="Higher runs first.")]
Code = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Bring this folder, without what .gitignore names."),
]
Git = Annotated[
    str, typer.Option("--git", metavar="URL", help="Bring a revision of this repository.")
]
Revision = Annotated[str, typer.Option(help="A branch, a tag, or a commit's full id.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Then watch the run until it is over.")]


@command(app)
def submit(
    recipe: Recipe = "",
    param: Param = None,
    project: Project = "",
    name: Name = "",
    model: Annotated[str, typer.Option(help="Default: the project's base model.")] = "",
    dataset: Annotated[str, typer.Option(help="What it trains on.")] = "",
    gpus: Gpus = None,
    gpu_type: GpuType = None,
    nodes: Nodes = None,
    priority: Priority = None,
    code: Code = None,
    git: Git = "",
    revision: Revision = "",
    dry_run: Annotated[bool, typer.Option(help="Only list the code that would be sent.")] = False,
    watch: Watch = False,
    as_json: AsJson = False,
) -> ExitCode | None:
    """Submit a run. Prints its id."""
    if dry_run:
        _list_code(code, as_json=as_json)
        return None
    with connected() as api:
        its_project = project_id(api, project)
        body = _configuration(
            recipe=recipe,
            name=name,
            model=model,
            dataset=dataset,
            priority=priority,
            hyperparameters=hyperparameters(param or []),
            resources=_resources(gpus, gpu_type, nodes),
        )
        body |= _code(api, its_project, code, git, revision)
        run = api.create(f"/projects/{its_project}/runs", body)
        return _submitted(api, run, watch=watch, as_json=as_json)


def _configuration(**fields: Any) -> dict[str, Any]:
    """Without what is not given."""
    return {name: value for name, value in fields.items() if value not in ("", None, {})}


def _resources(gpus: int | None, gpu_type: str | None, nodes: int | None) -> dict[str, Any]:
    given = {"gpu_count": gpus, "gpu_type": gpu_type, "nodes": nodes}
    return {name: value for name, value in given.items() if value is not None}


def _code(api: Api, project: str, folder: Path | None, git: str, revision: str) -> dict[str, Any]:
    if folder is not None and git:
        raise UsageError("Either --code or --git.")
    if revision and not git:
        raise UsageError("--revision needs --git.")
    if git:
        return {"code": {"git_url": git, **({"revision": revision} if revision else {})}}
    return {} if folder is None else {"code": upload_folder(api, project, folder)}


def _list_code(folder: Path | None, *, as_json: bool) -> None:
    if folder is None:
        raise UsageError("--dry-run needs --code.")
    files = packing.files_of(folder)
    if as_json:
        print_json([{"path": file.path, "size_bytes": file.size} for file in files])
        return
    for file in files:
        print_line(f"{size(file.size):>10}  {file.path}")
    noun = "file" if len(files) == 1 else "files"
    note(f"{len(files)} {noun}, {size(sum(file.size for file in files))}.")


def _submitted(api: Api, run: dict[str, Any], *, watch: bool, as_json: bool) -> ExitCode | None:
    if as_json:
        if not watch:
            print_json(run)
    else:
        print_line(run["id"])
        note(f"{run['name']} is {status_of(run)}.")
    if watch:
        return follow_to_the_end(api, RunPath(run["project_id"], run["id"]), as_json=as_json)
    return None


@command(app)
def ps(
    project: Project = "",
    every: Annotated[bool, typer.Option("--all", "-a", help="Also runs that are over.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, max=500, help="The newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the project's runs, newest first."""
    with connected() as api:
        url = f"/projects/{project_id(api, project)}/runs"
        statuses = None if every else list(ACTIVE)
        found = api.get(url, page=1, page_size=limit, status=statuses)
    if as_json:
        print_json(found)
        return
    table(
        ("ID", "NAME", "STATUS", "DONE", "STEP", "RECIPE", "CREATED"),
        [
            (
                run["id"],
                run["name"],
                colored_status(run),
                f"{run['progress']:.0%}",
                str(run["step"]),
                run["recipe"] or "–",
                local_time(run["created_at"]),
            )
            for run in found
        ],
    )


@command(app)
def cancel(
    run: RunName,
    project: Project = "",
    wait: Annotated[bool, typer.Option(help="Until it has stopped.")] = True,
    as_json: AsJson = False,
) -> None:
    """Cancel a run; it saves a checkpoint first."""
    with connected() as api:
        path = run_path(api, run, project)
        answer = api.post(f"{path.url}/cancel")
        while wait and answer["status"] not in TERMINAL:
            time.sleep(POLL_SECONDS)
            state = patiently(lambda: path.detail(api))
            answer = api.post(f"{path.url}/cancel") if state["status"] in TERMINAL else state
    if as_json:
        print_json(answer)
        return
    kept = ", ".join(item["name"] for item in answer.get("artifacts", []))
    note(f"{answer['name']} is {status_of(answer)}" + (f"; kept: {kept}." if kept else "."))


@command(app)
def resume(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN[@STEP]", help="From its newest checkpoint, or that step's."),
    ],
    param: Param = None,
    project: Project = "",
    recipe: Recipe = "",
    name: Name = "",
    gpus: Gpus = None,
    gpu_type: GpuType = None,
    nodes: Nodes = None,
    priority: Priority = None,
    code: Code = None,
    git: Git = "",
    revision: Revision = "",
    watch: Watch = False,
    as_json: AsJson = False,
) -> ExitCode | None:
    """Continue from a checkpoint as a new run, with the same code unless other is given."""
    source, step = split_step(run)
    with connected() as api:
        path = run_path(api, source, project)
        checkpoint = checkpoint_of(api, path, step)
        body = _configuration(
            recipe=recipe,
            name=name,
            priority=priority,
            hyperparameters=hyperparameters(param or []),
            resources=_resources(gpus, gpu_type, nodes),
        )
        body |= _code(api, path.project, code, git, revision)
        made = api.create(
            f"{path.url}/resume", body, params={"source_artifact_id": checkpoint["id"]}
        )
        return _submitted(api, made, watch=watch, as_json=as_json)


@command(app)
def tag(
    run: Annotated[str, typer.Argument(metavar="RUN[@STEP]", help="A run, or its checkpoint.")],
    tags: Annotated[
        list[str],
        typer.Argument(
            metavar="TAG...",
            help="NAME=VALUE of the run (an empty value deletes); or, for its newest checkpoint or "
            "that of STEP: candidate, released or archived.",
        ),
    ],
    notes: Annotated[str, typer.Option(help="Why, with the tag of a checkpoint.")] = "",
    project: Project = "",
    as_json: AsJson = False,
) -> None:
    """Tag a run, or one of its checkpoints."""
    name, step = split_step(run)
    of_run = {key: text or None for key, equals, text in (t.partition("=") for t in tags) if equals}
    of_checkpoint = [text for text in tags if "=" not in text]
    if (
        bool(of_run) == bool(of_checkpoint)
        or len(of_checkpoint) > 1
        or (of_run and step is not None)
    ):
        raise UsageError("Either NAME=VALUE of a run, or one tag of a checkpoint.")
    with connected() as api:
        path = run_path(api, name, project)
        if of_run:
            answer = api.patch(path.url, {"tags": of_run})
        else:
            answer = _tag_checkpoint(api, path, step, of_checkpoint[0], notes)
    if as_json:
        print_json(answer)
    else:
        note(f"{answer['id']} is tagged.")


def _tag_checkpoint(api: Api, run: RunPath, step: int | None, value: str, notes: str) -> Any:
    known = CHECKPOINT_TAGS.get(value, value)
    if known not in CHECKPOINT_TAGS.values():
        raise UsageError(f"{value} is no tag of a checkpoint: {', '.join(CHECKPOINT_TAGS)}.")
    checkpoint = checkpoint_of(api, run, step)
    body = {"tag": known, **({"notes": notes} if notes else {})}
    return api.post(f"{run.url}/artifacts/{checkpoint['id']}/tag", body)


@command(app)
def why(run: RunName, project: Project = "", as_json: AsJson = False) -> None:
    """Say why a run is not running: its place, what it waits for, when it may start."""
    with connected() as api:
        path = run_path(api, run, project)
        try:
            answer = api.get(f"{path.url}/explanation")
        except NotFound:  # of a server that does not explain
            state = path.detail(api)
            answer = {
                "run": path.id,
                "status": state["status"],
                "position": None,
                "reason": state["status_reason"],
                "waits_for": None,
                "estimated_start": None,
            }
    if as_json:
        print_json(answer)
        return
    print_line(f"{answer['run']} is {status_of(answer)}.")
    for label, key in (
        ("Reason", "reason"),
        ("Place in the queue", "position"),
        ("Waits for", "waits_for"),
    ):
        if answer.get(key) not in (None, "", [], {}):
            print_line(f"{label}: {_words(answer[key])}")
    if answer.get("estimated_start"):
        print_line(f"May start: {local_time(answer['estimated_start'])}")


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_words(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_words(item)}" for key, item in value.items())
    return str(value)
