"""What runs have to show: logs, their state, files, code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from trainhub_client import downloads, watching
from trainhub_client.api import Api
from trainhub_client.errors import ExitCode, NotFound
from trainhub_client.following import exit_code_of, log_lines
from trainhub_client.lookups import RunPath, artifact_of, path_of, project_id, run_path
from trainhub_client.output import (
    local_time,
    note,
    out,
    plain,
    print_json,
    print_json_line,
    print_line,
    size,
    status_of,
)
from trainhub_client.shell import AsJson, Project, RunName, command, connected
from trainhub_client.submitting import progress

app = typer.Typer()

DIFF_COLORS = {"+": "green", "-": "red", "@": "cyan", "#": "yellow"}


@command(app)
def logs(
    run: RunName,
    project: Project = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the run is over.")] = False,
    tail: Annotated[
        int | None,
        typer.Option("--tail", "-n", min=0, help="Only the last ones. Default: all."),
    ] = None,
    level: Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING, ERROR")] = None,
    rank: Annotated[int | None, typer.Option(min=0, help="Of the process with this rank.")] = None,
    grep: Annotated[str | None, typer.Option(help="Lines with this text.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a run's log. Reconnects if the server goes away."""
    filters = {"level": level, "rank": rank, "q": grep}
    with connected() as api:
        path = run_path(api, run, project)
        for line in log_lines(api, path, tail=tail, follow=follow, filters=filters):
            if as_json:
                print_json_line(line)
            else:
                print_line(_line(line))
                if follow:
                    sys.stdout.flush()


def _line(line: dict[str, Any]) -> str:
    rank = "" if line.get("rank") is None else f"[{line['rank']}] "
    return f"{local_time(line['timestamp'])} {line['level']:<7} {rank}{line['message']}"


@command(app)
def watch(run: RunName, project: Project = "", as_json: AsJson = False) -> ExitCode:
    """Watch a run until it is over. The exit code says how it ended."""
    with connected() as api:
        return follow_to_the_end(api, run_path(api, run, project), as_json=as_json)


def follow_to_the_end(api: Api, run: RunPath, *, as_json: bool) -> ExitCode:
    try:
        state = watching.watch(api, run, as_json=as_json)
    except KeyboardInterrupt:
        note(f"The run goes on. To stop it: trainhub cancel {run.id}")
        raise
    if not as_json:
        reason = f": {state['status_reason']}" if state["status_reason"] else ""
        note(f"{state['name']} is {status_of(state)}{reason}")
    return exit_code_of(state)


@command(app)
def get(
    artifact: Annotated[
        str,
        typer.Argument(
            metavar="ARTIFACT", help="An artifact's id, RUN[@STEP] (a checkpoint) or RUN:PATH."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder. Default: this one.")
    ] = None,
    project: Project = "",
    as_json: AsJson = False,
) -> None:
    """Download an artifact, verified. A download that was cut off goes on."""
    target = (output or Path()).resolve()
    with connected() as api:
        found = artifact_of(api, artifact, project)
        its_project = project_id(api, project)
        folder, parts = downloads.parts_of(api, found, its_project)
        written = []
        with progress() as bars:
            bar = bars.add_task("downloading", total=sum(part["size_bytes"] for part in parts))
            before = 0
            for part in parts:
                path = _local_name(part, folder, target)
                downloads.fetch(
                    api,
                    f"/projects/{its_project}/runs/{found['run_id']}/artifacts/{part['id']}/download",
                    path,
                    part["sha256"],
                    part["size_bytes"],
                    lambda done, before=before: bars.update(bar, completed=before + done),  # type: ignore[misc]
                )
                before += part["size_bytes"]
                written.append(path)
    if as_json:
        print_json({"id": found["id"], "files": [str(path) for path in written]})
        return
    for path in written:
        print_line(str(path))


def _local_name(part: dict[str, Any], folder: str, target: Path) -> Path:
    """A file alone by its name; the files of a folder below it."""
    path = path_of(part)
    above = folder.rpartition("/")[0] if folder else path.rpartition("/")[0]
    return downloads.destination(path.removeprefix(f"{above}/") if above else path, target)


@command(app)
def code(
    run: RunName,
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="Print this file.")] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write all of it to this new zip file.")
    ] = None,
    project: Project = "",
    as_json: AsJson = False,
) -> None:
    """Show the code that a run has: where it came from and its files, or one of them."""
    with connected() as api:
        its_run = run_path(api, run, project)
        content = api.get(f"{its_run.url}/code")
        url = f"/projects/{its_run.project}/code/{content['sha256']}"
        if output is not None:
            _save_code(api, url, output)
        elif path:
            _print_file(api, url, path)
        elif as_json:
            print_json(content)
        else:
            _list_files(content)


def _save_code(api: Api, url: str, output: Path) -> None:
    head = api.request("HEAD", f"{url}/download").headers
    sha256, count = head["ETag"].strip('"'), int(head["Content-Length"])
    downloads.fetch(api, f"{url}/download", output.resolve(), sha256, count)
    print_line(str(output))


def _print_file(api: Api, url: str, path: str) -> None:
    content = api.request("GET", f"{url}/file", params={"path": path}).content
    sys.stdout.flush()
    if sys.stdout.isatty():
        print_line(content.decode(errors="replace"))
    else:
        sys.stdout.buffer.write(content)


def _list_files(content: dict[str, Any]) -> None:
    for name in ("sha256", "git_url", "revision", "commit", "branch", "remote", "dirty"):
        if content[name] is not None:
            note(f"{name:<9} {content[name]}")
    for file in (content["bundle"] or {}).get("files", []):
        print_line(f"{size(file['size_bytes']):>10}  {file['path']}")


@command(app)
def diff(
    run: RunName,
    other: Annotated[
        str, typer.Argument(metavar="[RUN2]", help="Default: the commit that RUN is based on.")
    ] = "",
    project: Project = "",
    as_json: AsJson = False,
) -> None:
    """Show what differs between the code of two runs, or of a run and the commit it came from."""
    with connected() as api:
        before = run_path(api, run, project)
        if other:
            after = run_path(api, other, project)
            response = api.request("GET", f"{after.url}/code/diff", params={"against": before.id})
            text = response.text
        else:
            text = _against_commit(api, before)
    if as_json:
        print_json({"diff": text})
        return
    for line in text.splitlines():
        if sys.stdout.isatty():
            out().print(Text(plain(line), style=DIFF_COLORS.get(line[:1], "")))
        else:
            print_line(line)


def _against_commit(api: Api, run: RunPath) -> str:
    content = api.get(f"{run.url}/code")
    if content["commit"] is None:
        raise NotFound(f"The code of {run.id} is based on no commit that is known.", "no_commit")
    if content["git_url"]:
        return ""
    untracked = "".join(f"# A {name} (untracked)\n" for name in content["untracked"])
    return str(content["patch"]) + untracked
