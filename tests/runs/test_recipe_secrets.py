"""Secret variables of recipes: stored encrypted, shown nowhere, told to trainings alone."""

import json

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import translation

from audit.models import Entry
from core.log_scrubbing import scrub
from core.secrets import decrypt, is_current
from execution.executors.process_inputs import secrets_of
from notices.models import Webhook
from runs.actions import create_run
from runs.executors import CannotStart
from runs.models import Recipe
from tests.dashboard.operators import administrator, member
from tests.dashboard.test_recipes import form
from tests.factories import ProjectFactory, RecipeFactory, RunFactory, WebhookFactory
from trainhub.stored_secrets import columns

pytestmark = pytest.mark.django_db

SECRET = "hf_of-the-whole-team"


@pytest.fixture
def recipe() -> Recipe:
    recipe: Recipe = RecipeFactory(name="tune", environment={"A": "1"})
    recipe.set_secrets({"HF_TOKEN": SECRET, "WANDB_API_KEY": "key-of-w-and-b"})
    recipe.save()
    return recipe


def saved(**fields: str) -> Recipe:
    answer = administrator().post("/dashboard/recipe/tune/edit", form(**fields))
    assert answer.status_code == 302, answer.context["form"].errors
    return Recipe.objects.get(pk="tune")


# --- storage ---------------------------------------------------------------------------------


def test_no_column_has_the_value(recipe):
    with connection.cursor() as cursor:
        cursor.execute("SELECT recipe::text FROM runs_recipe recipe WHERE name = 'tune'")
        (row,) = cursor.fetchone()

    assert "HF_TOKEN" in row
    assert SECRET not in row


def test_value_is_hidden_in_log_lines_once_it_was_decrypted(recipe):
    recipe.decrypted_secrets()

    assert scrub(f"cannot reach https://x/?{SECRET}") == "cannot reach https://x/?***"


def test_run_cannot_start_with_another_key_and_says_why(recipe, settings):
    run = RunFactory(recipe=recipe)
    settings.SECRET_KEY = "another"

    with pytest.raises(CannotStart, match=r"HF_TOKEN.*TRAINHUB_SECRET_KEY"):
        secrets_of(run)


# --- forms -----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["/dashboard/recipe/tune/edit", "/dashboard/recipe/tune", "admin"])
def test_pages_show_the_name_and_not_the_value(recipe, page):
    if page == "admin":
        page = reverse("admin:runs_recipe_change", args=["tune"])

    shown = administrator().get(page).content.decode()

    assert "HF_TOKEN" in shown
    assert SECRET not in shown
    assert recipe.encrypted_environment["HF_TOKEN"] not in shown


def test_members_do_not_see_the_names(recipe):
    assert "HF_TOKEN" not in member().get("/dashboard/recipe/tune").content.decode()


def test_api_shows_neither(recipe):
    answer = Client().get("/recipes").content.decode()

    assert "tune" in answer
    assert "HF_TOKEN" not in answer


def test_recipe_saved_without_edits_keeps_its_secrets(recipe):
    assert saved().encrypted_environment == recipe.encrypted_environment


def test_secret_is_added_replaced_and_removed(recipe):
    changed = saved(secrets="HF_TOKEN=new\nAWS_KEY=k", removed_secrets="WANDB_API_KEY")

    assert changed.decrypted_secrets() == {"HF_TOKEN": "new", "AWS_KEY": "k"}


def test_admin_saves_secrets(recipe):
    page = reverse("admin:runs_recipe_change", args=["tune"])

    administrator().post(page, form(secrets="HF_TOKEN=new"))

    assert Recipe.objects.get(pk="tune").decrypted_secrets()["HF_TOKEN"] == "new"


@pytest.mark.usefixtures("english")
@pytest.mark.parametrize(
    ("fields", "at_fault", "words"),
    [
        ({"secrets": "HF_TOKEN="}, "secrets", "no value"),
        ({"secrets": "TRAINHUB_URL=x"}, "secrets", "reserved"),
        ({"environment": "HF_TOKEN=x"}, "environment", "is a secret of this recipe, too"),
        ({"removed_secrets": "OTHER"}, "removed_secrets", "OTHER"),
    ],
)
def test_invalid_secrets_are_refused(recipe, fields, at_fault, words):
    answer = administrator().post("/dashboard/recipe/tune/edit", form(**fields))

    with translation.override("en"):
        assert words in str(answer.context["form"].errors[at_fault])
    assert Recipe.objects.get(pk="tune").encrypted_environment == recipe.encrypted_environment


def test_audit_has_no_value(recipe):
    saved(secrets="HF_TOKEN=another-value")

    told = json.dumps(list(Entry.objects.values("before", "after")))
    assert "HF_TOKEN" in told
    assert SECRET not in told
    assert "another-value" not in told


def test_export_has_no_secret(recipe, tmp_path):
    project = ProjectFactory()
    create_run(project, by=None, recipe=recipe)

    call_command("export_project", project.pk, str(tmp_path / "out"), verbosity=0)

    written = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert written
    assert not any(b"HF_TOKEN" in content or SECRET.encode() in content for content in written)


# --- rotation --------------------------------------------------------------------------------


def test_rotated_secrets_need_no_earlier_key(recipe, settings):
    hook = WebhookFactory()
    before = hook.address
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [settings.SECRET_KEY]

    call_command("rotate_secrets", verbosity=0)

    settings.SECRET_KEY_FALLBACKS = []
    assert Recipe.objects.get(pk="tune").decrypted_secrets()["HF_TOKEN"] == SECRET
    assert Webhook.objects.get().address == before


def test_secret_of_the_current_key_is_left_as_it_is(recipe, capsys):
    call_command("rotate_secrets")

    stored = Recipe.objects.get(pk="tune").encrypted_environment
    assert stored == recipe.encrypted_environment
    assert is_current(stored["HF_TOKEN"])


@pytest.mark.usefixtures("english")
def test_unreadable_secret_is_named_and_the_others_are_rotated(recipe, settings, capsys):
    recipe.encrypted_environment = {**recipe.encrypted_environment, "LOST": "gAAAA"}
    recipe.save()
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [settings.SECRET_KEY]

    with pytest.raises(CommandError, match="1 secret"):
        call_command("rotate_secrets")

    assert "runs.Recipe tune encrypted_environment.LOST" in capsys.readouterr().err
    assert decrypt(Recipe.objects.get(pk="tune").encrypted_environment["HF_TOKEN"]) == SECRET


def test_every_encrypted_column_is_rotated():
    """Those of all models that encrypt something: a new one is named with the prefix."""
    found = {f"{model._meta.label}.{name}" for model, names in columns() for name in names}

    assert found == {
        "execution.MirroredAttempt.encrypted_environment",
        "notices.Webhook.earlier_secret",
        "notices.Webhook.encrypted_address",
        "notices.Webhook.encrypted_secret",
        "runs.Recipe.encrypted_environment",
    }
