"""Signing in, and what there is: projects and recipes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from trainhub_client import config
from trainhub_client.api import Api
from trainhub_client.config import Config
from trainhub_client.errors import Refused, UsageError
from trainhub_client.lookups import project_id
from trainhub_client.output import local_time, note, print_json, table
from trainhub_client.shell import AsJson, command, connected

app = typer.Typer()


@command(app)
def login(
    url: Annotated[str, typer.Argument(help="The server's address.")] = "",
    token: Annotated[
        str,
        typer.Option(help="An API token. Better: TRAINHUB_TOKEN, standard input, or when asked."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Sign in: store the server's address and a token, readable by you alone."""
    before = config.load()
    address = config.checked_url(url or before.url or _asked("Server"))
    given = token or before.token if address == before.url else token
    if not _is_let_in(Config(address, given)):
        given = _asked("Token", hidden=True)
        if not _is_let_in(Config(address, given)):
            raise Refused("The server refuses this token.", "authentication_failed")
    if given and config.is_open_to_others(address):
        note(
            f"Warning: {address} is not encrypted: others on the way can read the token.", "yellow"
        )
    project = before.project if address == before.url else ""
    config.save(Config(address, given, project))
    if as_json:
        print_json({"url": address, "token": bool(given)})
    else:
        note(f"Signed in to {address}." if given else f"{address} asks for no token.")


def _is_let_in(given: Config) -> bool:
    api = Api(given, tries=2)
    try:
        api.get("/projects", page=1, page_size=1)
    except Refused as error:
        if error.code in {"not_authenticated", "authentication_failed"}:
            return False
        raise
    finally:
        api.close()
    return True


def _asked(what: str, *, hidden: bool = False) -> str:
    """From a terminal, or the first line of standard input."""
    if sys.stdin.isatty():
        return str(typer.prompt(what, hide_input=hidden, err=True)).strip()
    text = sys.stdin.readline().strip()
    if not text:
        raise UsageError(f"{what} is missing.")
    return text


@command(app)
def logout(as_json: AsJson = False) -> None:
    """Forget the server and the token. The token stays valid until it is revoked or expires."""
    config.forget()
    if as_json:
        print_json({"signed_out": True})
    else:
        note(f"{config.path()} is deleted.")


@command(app)
def use(
    project: Annotated[str, typer.Argument(help="Its id or name.")], as_json: AsJson = False
) -> None:
    """Choose the project that commands are about by default."""
    with connected() as api:
        found = project_id(api, project)
        content = api.get(f"/projects/{found}")
    config.set_project(found)
    if as_json:
        print_json({"id": found, "name": content["name"]})
    else:
        note(f"Project {content['name']} ({found}).")


@command(app)
def projects(as_json: AsJson = False) -> None:
    """List projects."""
    with connected() as api:
        found = list(api.pages("/projects"))
        default = api.config.project
    if as_json:
        print_json(found)
        return
    table(
        ("ID", "NAME", "STATUS", "OWNER", "CREATED"),
        [
            (
                f"{item['id']}{' *' if item['id'] == default else ''}",
                item["name"],
                item["status"],
                item.get("owner") or "",
                local_time(item["created_at"]),
            )
            for item in found
        ],
    )


@command(app)
def recipes(as_json: AsJson = False) -> None:
    """List recipes: what a run can execute."""
    with connected() as api:
        found = api.get("/recipes")
    if as_json:
        print_json(found)
        return
    table(
        ("NAME", "DESCRIPTION", "EXECUTOR", "GPUS", "CODE"),
        [
            (
                f"{item['name']}{' *' if item['is_default'] else ''}",
                item["description"],
                item["executor"],
                f"{item['gpu_count']} × {item['gpu_type'] or 'any'}" if item["gpu_count"] else "–",
                "–"
                if item.get("code", "none") == "none"
                else f"{item['code']}, {item['code_from']}",
            )
            for item in found
        ],
    )
