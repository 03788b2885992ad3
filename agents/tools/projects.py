"""list_projects and list_recipes."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from agents.answers import Answer, text
from agents.pages import Limit, Offset
from agents.tool import Arguments, Caller, tool
from core.text import MAX_NAME_LENGTH
from projects.access import role_in
from projects.models import Project


class ListProjects(Arguments, frozen=True):
    name: Annotated[
        str, Meta(max_length=MAX_NAME_LENGTH, description="A part of the project's name.")
    ] = ""
    limit: Limit = 20
    offset: Offset = 0


@tool("List projects")
def list_projects(caller: Caller, given: ListProjects) -> Answer:
    """The projects that you may see, newest first: id, name, status, your role, base model and how
    many runs they have had. Begin here: other tools take a project's id."""
    projects = Project.objects.visible_to(caller.user)
    if given.name:
        projects = projects.filter(name__icontains=given.name)
    page = projects.order_by("-created_at", "pk")[given.offset : given.offset + given.limit]
    rows = [_project(caller, project) for project in page]
    return Answer({"projects": rows}, rows="projects", offset=given.offset, total=projects.count())


def _project(caller: Caller, project: Project) -> dict[str, Any]:
    role = role_in(caller.user, project.pk)
    return {
        "id": project.pk,
        "name": text(project.name, 100),
        "status": project.status,
        "role": role.slug if role is not None else None,
        "base_model": text(project.base_model, 100),
        "runs": project.run_count,
    }


class ListRecipes(Arguments, frozen=True):
    limit: Limit = 50
    offset: Offset = 0


@tool("List recipes")
def list_recipes(caller: Caller, given: ListRecipes) -> Answer:
    """What a run can execute: the recipes for queue_run, with their GPUs and the hyperparameters
    that they set. The one with "default" is taken where none is named."""
    recipes = caller.rest.get("/recipes")
    rows = [
        {
            "name": recipe["name"],
            "description": text(recipe["description"]),
            "executor": recipe["executor"],
            "kind": recipe["kind"],
            "gpus": recipe["gpu_count"],
            "gpu_type": recipe["gpu_type"],
            "nodes": recipe["nodes"],
            "code": recipe["code"],
            "default": recipe["is_default"],
        }
        for recipe in recipes[given.offset : given.offset + given.limit]
    ]
    return Answer({"recipes": rows}, rows="recipes", offset=given.offset, total=len(recipes))
