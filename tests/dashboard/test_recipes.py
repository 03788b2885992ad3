"""Recipes: the list for everybody, and the forms of operators."""

import sys

import pytest
from django.test import Client
from django.utils import timezone

from accounts.open_mode import local_administrator
from projects.models import ProjectStatus
from runs.models import ProgramCheck, Recipe, Run
from runs.status import RunStatus
from tests.dashboard.operators import administrator, member, staff
from tests.factories import ProjectFactory, RecipeFactory, WorkerFactory

pytestmark = pytest.mark.django_db

LIST, NEW, CHECKS = "/dashboard/recipes", "/dashboard/recipes/new", "/dashboard/recipes/checks"


def page_of(recipe, part=""):
    return f"/dashboard/recipe/{recipe}{part}"


def form(**fields):
    return {
        "name": "tune",
        "description": "",
        "executor": "process",
        "command": "{python}\r\ntrain.py",
        "environment": "",
        "encoding": "utf-8",
        "read_tensorboard": "on",
        "default_hyperparameters": "",
        "gpu_type": "",
        "gpu_count": "0",
        "stop_grace_seconds": "10",
        "stall_silence_seconds": "0",
        "stall_step_seconds": "0",
        "stall_action": "restart",
        "max_restarts": "3",
        "code": "none",
        "code_from": "nobody",
        "enabled": "on",
        **fields,
    }


# --- for everybody ---------------------------------------------------------------------------


def test_everybody_sees_the_recipes():
    RecipeFactory(name="tune", description="Fine-tunes", gpu_type="H200", gpu_count=8)
    RecipeFactory(name="old", enabled=False)

    page = member().get(LIST).content.decode()

    for text in ("tune", "Fine-tunes", "8 × H200", "Disabled"):
        assert text in page
    assert "/recipes/new" not in page


def test_command_and_environment_are_for_operators():
    RecipeFactory(name="tune", command=["/opt/secret-path/train"], environment={"KEY": "s3cret"})

    assert "/opt/secret-path" not in member().get(page_of("tune")).content.decode()
    shown = administrator().get(page_of("tune")).content.decode()
    assert "/opt/secret-path/train" in shown
    assert "KEY" in shown
    assert "s3cret" not in shown


def test_unknown_recipe_is_not_found():
    assert member().get(page_of("none")).status_code == 404


def test_without_recipes_the_page_says_what_to_do():
    Run.objects.all().delete()
    Recipe.objects.all().delete()

    assert "write the first" in administrator().get(LIST).content.decode()
    assert "Operators write them" in member().get(LIST).content.decode()


# --- who may write ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", [NEW, page_of("char-lm", "/edit")])
def test_members_do_not_write_recipes(path):
    assert member().get(path).status_code == 403
    assert member().post(path, form()).status_code == 403
    assert not Recipe.objects.filter(name="tune").exists()


@pytest.mark.parametrize("path", [NEW, page_of("char-lm", "/edit")])
def test_open_mode_asks_for_the_password_as_the_admin_does(path):
    local_administrator()

    response = Client(SERVER_NAME="localhost").post(path, form())

    assert response.status_code == 302
    assert response.headers["Location"] == f"/admin/login/?next={path}"
    assert not Recipe.objects.filter(name="tune").exists()


def test_permissions_are_those_of_the_admin():
    assert staff("add_recipe").get(NEW).status_code == 200
    assert staff("add_recipe").get(page_of("char-lm", "/edit")).status_code == 403
    assert staff("change_recipe").get(NEW).status_code == 403
    assert staff("view_recipe").post(page_of("char-lm", "/check")).status_code == 403


# --- writing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "{python}\r\ntrain.py\r\n--text=a, b",
        '["{python}", "train.py", "--text=a, b"]',
        "{python} train.py '--text=a, b'",
    ],
)
def test_recipe_is_saved_however_its_command_is_written(command):
    fields = form(command=command, environment="A=1\r\nB=x y", is_default="")

    response = administrator().post(NEW, fields)

    recipe = Recipe.objects.get(name="tune")
    assert response.headers["Location"] == page_of("tune")
    assert recipe.command == ["{python}", "train.py", "--text=a, b"]
    assert recipe.environment == {"A": "1", "B": "x y"}


def test_recipe_saved_without_edits_is_unchanged():
    command = ["{python}", " spaces ", "line\nbreak", '["not a list"]']
    RecipeFactory(name="tune", command=command, environment={"A": "é\n", "B": '"q"'})
    operator = administrator()
    shown = operator.get(page_of("tune", "/edit")).context["form"]
    fields = {name: shown[name].value() for name in shown.fields}
    before = Recipe.objects.filter(pk="tune").values().get()

    sent = {
        name: value
        for name, value in fields.items()
        if value or (value == 0 and value is not False)
    }
    response = operator.post(page_of("tune", "/edit"), sent)

    assert response.status_code == 302, response.context["form"].errors
    assert Recipe.objects.filter(pk="tune").values().get() == before


def test_name_of_a_recipe_stays():
    administrator().post(page_of("char-lm", "/edit"), form(name="other"))

    assert set(Recipe.objects.values_list("name", flat=True)) == {"simulated", "char-lm"}


@pytest.mark.parametrize(
    ("fields", "at_fault", "words"),
    [
        ({"command": ""}, "command", "A process needs a command."),
        ({"command": '[""]'}, "command", "The program is empty."),
        ({"command": "{pyhton} a"}, "command", "{pyhton} is unknown"),
        ({"command": "a" * 1001}, "command", "at most 1000"),
        ({"command": "a b\0"}, "command", "Null characters"),
        ({"command": "a | b"}, "command", "There is no shell"),
        ({"command": "[1]"}, "command", "must be a text"),
        ({"environment": "TRAINHUB_URL=x"}, "environment", "reserved"),
        ({"environment": "A B=x"}, "environment", "Invalid environment variable"),
        ({"environment": "A"}, "environment", "Line 1"),
        (
            {"default_hyperparameters": '{"batch_size": -1}'},
            "default_hyperparameters",
            "batch_size",
        ),
        ({"encoding": "hex"}, "encoding", "Unknown text encoding."),
        ({"gpu_count": "99999999999"}, "gpu_count", "less than or equal"),
        ({"name": "simulated"}, "name", "already exists"),
        ({"name": "a b"}, "name", "letters"),
        ({"is_default": "on"}, "is_default", "simulated is the default recipe"),
    ],
)
def test_invalid_recipe_is_refused_with_what_is_wrong(fields, at_fault, words):
    response = administrator().post(NEW, form(**fields))

    assert response.status_code == 422
    assert at_fault in response.context["form"].errors
    assert words in response.content.decode()
    assert set(Recipe.objects.values_list("name", flat=True)) == {"simulated", "char-lm"}


# --- is the program there? -------------------------------------------------------------------


def test_check_shows_the_arguments_and_saves_nothing():
    WorkerFactory(name="gpu-01")

    response = administrator().post(NEW, form(command="train --x 'a b'", check="1"))

    page = response.content.decode()
    assert not Recipe.objects.filter(name="tune").exists()
    assert response.context["form"].arguments == ["train", "--x", "a b"]
    assert "<code>a b</code>" in page
    assert "gpu-01" in page
    assert "No answer yet" in page


def test_check_of_a_refused_command_asks_nobody():
    WorkerFactory()

    response = administrator().post(NEW, form(command="a | b", check="1"))

    assert response.status_code == 422
    assert not ProgramCheck.objects.exists()


def test_saved_recipe_is_checked_by_every_worker():
    first, second = WorkerFactory(name="gpu-01"), WorkerFactory(name="gpu-02")
    operator = administrator()
    operator.post(NEW, form(command="train", environment="PATH=/opt/bin"))

    questions = ProgramCheck.objects.values_list("worker", "program", "search_path")
    assert set(questions) == {(worker.pk, "train", "/opt/bin") for worker in (first, second)}
    ProgramCheck.objects.get(worker=first).answer("/opt/bin/train")
    ProgramCheck.objects.get(worker=second).answer("")

    page = operator.get(page_of("tune")).content.decode()

    assert page.index("gpu-01") < page.index("/opt/bin/train") < page.index("gpu-02")
    assert page.count("Not found") == 1
    assert "data-live" not in page.partition('id="program-checks"')[2].partition(">")[0]


def test_answers_are_asked_for_until_all_are_there():
    worker, operator = WorkerFactory(), administrator()
    ProgramCheck.objects.ask("train", "")
    query = {"program": "train", "path": ""}

    waiting = operator.get(CHECKS, query)
    same = operator.get(CHECKS, query, headers={"If-None-Match": waiting.headers["ETag"]})
    ProgramCheck.objects.get(worker=worker).answer("/bin/train")
    done = operator.get(CHECKS, query, headers={"If-None-Match": waiting.headers["ETag"]})

    assert [answer.status_code for answer in (waiting, same, done)] == [200, 304, 286]
    assert "/bin/train" in done.content.decode()


def test_workers_are_asked_again():
    RecipeFactory(name="tune", command=["train"])
    WorkerFactory()
    ProgramCheck.objects.ask("train", "")
    ProgramCheck.objects.get().answer("")

    administrator().post(page_of("tune", "/check"))

    assert ProgramCheck.objects.get().answered_at is None


def test_without_workers_the_page_says_so():
    RecipeFactory(name="tune", command=["train"])
    WorkerFactory(stopped_at=timezone.now())

    assert "nobody can tell" in administrator().get(page_of("tune")).content.decode()


@pytest.mark.parametrize("program", ["", "\0", "x" * 10_000])
def test_question_that_nobody_has_asked_has_no_answers(program):
    response = administrator().get(CHECKS, {"program": program, "path": program})

    assert response.status_code == 286
    assert response.context["checks"] == []


def test_members_do_not_read_answers():
    assert member().get(CHECKS, {"program": sys.executable}).status_code == 403


# --- a test run ------------------------------------------------------------------------------


def test_test_run_is_short_and_named_for_its_recipe():
    RecipeFactory(name="tune", enabled=False)
    project = ProjectFactory(default_hyperparameters={"max_steps": 100_000})

    response = administrator().post(page_of("tune", "/test"), {"project": project.pk})

    run = Run.objects.get()
    assert response.headers["Location"] == f"/dashboard/projects/{project.pk}/runs/{run.pk}"
    assert (run.name, run.recipe_id, run.status) == ("test of tune", "tune", RunStatus.QUEUED)
    assert run.hyperparameters["max_steps"] == 10


@pytest.mark.parametrize("project", ["", "proj_none", "\0", "x" * 10_000])
def test_test_run_needs_a_project(project):
    response = administrator().post(page_of("char-lm", "/test"), {"project": project})

    assert response.status_code == 422
    assert "project" in response.context["form"].errors
    assert not Run.objects.exists()


def test_test_run_in_an_archived_project_is_refused():
    project = ProjectFactory(status=ProjectStatus.ARCHIVED)

    response = administrator().post(page_of("char-lm", "/test"), {"project": project.pk})

    assert response.status_code == 422
    assert "archived" in str(response.context["form"].errors)


def test_members_start_no_test_runs():
    project = ProjectFactory()

    assert member().post(page_of("char-lm", "/test"), {"project": project.pk}).status_code == 403
    assert not Run.objects.exists()
