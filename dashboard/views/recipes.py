"""Recipes: what there is for everybody, and the forms in which operators write them."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.permissions import is_operator
from dashboard.forms.recipes import RecipePageForm, TestRunForm
from dashboard.live import live
from dashboard.operators import operators_only, sees_commands
from dashboard.pages import INVALID_FORM, STOP_POLLING, PageRequest, attempt
from runs import actions
from runs.commands import MAX_ARGUMENT_LENGTH, MAX_VALUE_LENGTH
from runs.models import ExecutorName, ProgramCheck, Recipe, Worker

ADD, CHANGE = "runs.add_recipe", "runs.change_recipe"


@require_safe
def recipe_list(request: PageRequest) -> HttpResponse:
    recipes = Recipe.objects.order_by("-enabled", "name")
    context = {"recipes": recipes, "can_add": is_operator(request.user, ADD)}
    return render(request, "recipes/list.html", context)


@require_safe
def detail(request: PageRequest, name: str) -> HttpResponse:
    recipe = get_object_or_404(Recipe, pk=name)
    return _detail(request, recipe, TestRunForm(request.user))


def _detail(
    request: PageRequest, recipe: Recipe, form: TestRunForm, status: int | None = None
) -> HttpResponse:
    can_change = is_operator(request.user, CHANGE)
    shows_command = sees_commands(request)
    context = {
        "recipe": recipe,
        "can_change": can_change,
        "shows_command": shows_command,
        "form": form,
        **(_checks(*_question(recipe)) if shows_command and recipe.command else {}),
    }
    return render(request, "recipes/detail.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only(ADD, signed_in=True)
def create(request: PageRequest) -> HttpResponse:
    return _write(request, Recipe(executor=ExecutorName.PROCESS))


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only(CHANGE, signed_in=True)
def edit(request: PageRequest, name: str) -> HttpResponse:
    return _write(request, get_object_or_404(Recipe, pk=name))


def _write(request: PageRequest, recipe: Recipe) -> HttpResponse:
    """Save the recipe, or only check it: then the form says how the command is understood, and the
    workers are asked for its program."""
    is_new = not recipe.pk
    form = RecipePageForm(request.POST if request.method == "POST" else None, instance=recipe)
    context: dict[str, Any] = {"form": form, "recipe": None if is_new else recipe}
    only_check = "check" in request.POST
    if form.is_valid() and not only_check:
        saved = form.save()
        _ask(saved)
        messages.success(request, _("The recipe %(name)s is saved.") % {"name": saved.pk})
        return redirect("dashboard:recipe", saved.pk)
    if only_check and form.arguments and not form.errors.keys() & {"command", "environment"}:
        checked = Recipe(
            executor=ExecutorName.PROCESS,
            command=form.arguments,
            environment=form.cleaned_data.get("environment") or {},
        )
        _ask(checked)
        context |= _checks(*_question(checked))
    status = INVALID_FORM if form.errors else None
    return render(request, "recipes/form.html", context, status=status)


# --- is the program there? -------------------------------------------------------------------


def _question(recipe: Recipe) -> tuple[str, str]:
    """The program, and the PATH to look for it if the recipe sets one."""
    return recipe.command[0], recipe.environment.get("PATH", "")


def _ask(recipe: Recipe) -> None:
    if recipe.executor == ExecutorName.PROCESS and recipe.command:
        ProgramCheck.objects.ask(*_question(recipe))


def _checks(program: str, search_path: str) -> dict[str, Any]:
    checks = list(ProgramCheck.objects.of(program, search_path).order_by("worker__name"))
    query = urlencode({"program": program, "path": search_path})
    return {
        "program": program,
        "checks": checks,
        "waits": any(check.answered_at is None for check in checks),
        "has_workers": Worker.objects.alive()
        .filter(executors__contains=[ExecutorName.PROCESS])
        .exists(),
        "checks_url": f"{reverse('dashboard:recipe-checks')}?{query}",
    }


def _asked(request: PageRequest) -> tuple[str, str]:
    """The question of the query, without what no row can hold."""
    program = request.GET.get("program", "").replace("\x00", "")[:MAX_ARGUMENT_LENGTH]
    return program, request.GET.get("path", "").replace("\x00", "")[:MAX_VALUE_LENGTH]


def _checks_version(request: PageRequest) -> str:
    return repr(list(ProgramCheck.objects.of(*_asked(request)).values_list("pk", "answered_at")))


@require_safe
@operators_only(ADD, CHANGE, signed_in=True)
@live(_checks_version)
def checks(request: PageRequest) -> HttpResponse:
    """What the workers have answered so far; asked until all have."""
    context = _checks(*_asked(request))
    status = None if context["waits"] else STOP_POLLING
    return render(request, "recipes/_checks.html", context, status=status)


@require_POST
@operators_only(CHANGE, signed_in=True)
def check(request: PageRequest, name: str) -> HttpResponse:
    """Ask the workers again."""
    recipe = get_object_or_404(Recipe, pk=name)
    _ask(recipe)
    return redirect("dashboard:recipe", recipe.pk)


# --- a test run ------------------------------------------------------------------------------


@require_POST
@operators_only(CHANGE, signed_in=True)
def test(request: PageRequest, name: str) -> HttpResponse:
    recipe = get_object_or_404(Recipe, pk=name)
    form = TestRunForm(request.user, request.POST)
    if form.is_valid():
        project = form.cleaned_data["project"]
        run = attempt(form, actions.try_recipe, recipe, project, by=request.user)
        if run is not None:
            messages.success(request, _("%(name)s is queued.") % {"name": run.name})
            return redirect("dashboard:run", run.project_id, run.pk)
    return _detail(request, recipe, form, status=INVALID_FORM)
