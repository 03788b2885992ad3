"""What the form of a run offers of the cluster, and the code that it brings."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from accounts.open_mode import local_administrator
from runs.models import CodeBundle, Recipe, Run, RunCode
from sweeps.models import Sweep
from tests.code_bundles.bundles import bundle, packed
from tests.dashboard.operators import administrator
from tests.dashboard.test_sweeps import FORM as SWEEP
from tests.factories import (
    GpuPoolFactory,
    ProjectFactory,
    RecipeFactory,
    RunFactory,
    checkpoint,
)

pytestmark = pytest.mark.django_db
URL = "https://git.example/lm.git"
COMMIT = "c" * 40


@pytest.fixture
def client(client, settings):
    settings.LANGUAGE_CODE = "en"
    local_administrator()
    return client


@pytest.fixture
def project():
    return ProjectFactory()


@pytest.fixture
def recipe():
    """Takes code from everybody."""
    return RecipeFactory(name="with-code", code="optional", code_from="members", git_urls=[URL])


def form_of(client, project, query=""):
    return client.get(f"/dashboard/projects/{project.pk}/runs/new{query}").context["form"]


def send(client, project, query="", **fields):
    return client.post(f"/dashboard/projects/{project.pk}/runs/new{query}", fields)


def errors_of(response):
    assert response.status_code == 422
    assert not Run.objects.filter(name="run-001").exists()
    return {name: " ".join(texts) for name, texts in response.context["form"].errors.items()}


def archive(files):
    return SimpleUploadedFile("code.zip", packed(files), "application/zip")


# --- GPU types -------------------------------------------------------------------------------


def test_gpu_types_are_those_of_pools_with_the_executors_that_reach_them(client, project):
    GpuPoolFactory(gpu_type="A100")
    GpuPoolFactory(gpu_type="H100", executor="slurm")

    text = str(form_of(client, project)["gpu_type"])

    assert text.index('value=""') < text.index('value="A100"') < text.index('value="H100"')
    assert "any, or that of the recipe" in text
    assert '<option value="H100" data-executors="slurm">' in text
    [a100] = [line for line in text.splitlines() if "A100" in line]
    assert "process" in a100
    assert "slurm" not in a100  # it counts its own pools alone


def test_gpu_type_is_a_free_text_where_there_are_no_pools(client, project):
    assert 'type="text"' in str(form_of(client, project)["gpu_type"])


@pytest.mark.parametrize(
    ("gpu_type", "why"),
    [("H100", "There are no H100 GPUs. There are: A100, A800."), ("", "Specify the GPU type.")],
)
def test_gpu_type_that_no_pool_has_is_refused_at_its_field(client, project, gpu_type, why):
    GpuPoolFactory(gpu_type="A100")
    GpuPoolFactory(gpu_type="A800")

    errors = errors_of(send(client, project, gpu_type=gpu_type, gpu_count=1))

    assert list(errors) == ["gpu_type"]
    assert why in errors["gpu_type"]


def test_run_again_keeps_a_type_whose_pool_is_gone(client, project):
    GpuPoolFactory(gpu_type="A100")
    run = RunFactory(project=project, gpu_type="V100", gpu_count=1)

    text = str(form_of(client, project, f"?from={run.pk}")["gpu_type"])

    assert '<option value="V100" selected>' in text


def test_nodes_of_an_executor_with_one_are_refused_at_their_field(client, project):
    assert list(errors_of(send(client, project, nodes=2))) == ["nodes"]


# --- preemptible -----------------------------------------------------------------------------


@pytest.mark.parametrize(("chosen", "expected"), [("", True), ("yes", True), ("no", False)])
def test_run_is_preemptible_as_chosen_or_as_its_recipe_says(client, project, chosen, expected):
    Recipe.objects.filter(name="simulated").update(preemptible=True)

    send(client, project, recipe="simulated", preemptible=chosen)

    assert Run.objects.get().preemptible is expected


def test_sweep_takes_what_its_runs_are_to_have(client, project):
    Recipe.objects.filter(name="simulated").update(preemptible=True)

    client.post(
        f"/dashboard/projects/{project.pk}/new-sweep", SWEEP | {"preemptible": "no", "nodes": 1}
    )

    sweep = Sweep.objects.get()
    assert sweep.configuration["preemptible"] is False


# --- code ------------------------------------------------------------------------------------


def test_folder_is_stored_and_goes_with_the_run(client, project, recipe):
    send(client, project, recipe=recipe.pk, archive=archive({"train.py": "print(1)"}))

    code = RunCode.of(Run.objects.get())
    assert [entry[0] for entry in code.bundle.files] == ["train.py"]
    assert code.bundle.created_by == local_administrator()


def test_revision_of_a_repository_goes_with_the_run(client, project, recipe):
    send(client, project, recipe=recipe.pk, git_url=URL, revision=COMMIT)

    code = RunCode.of(Run.objects.get())
    assert code.origin == {"git_url": URL, "revision": COMMIT, "commit": COMMIT}


@pytest.mark.parametrize(
    ("fields", "field", "why"),
    [
        ({"archive": b"no zip"}, "archive", "zip"),
        ({"archive": True, "git_url": URL}, "archive", "either a folder or a repository"),
        ({"revision": "main"}, "git_url", "Choose the repository"),
        ({"git_url": URL, "revision": "--help"}, "revision", "no name of a revision"),
        ({"git_url": "https://elsewhere.example/x.git"}, "git_url", "valid choice"),
        ({"archive": True, "recipe": "simulated"}, "archive", "takes no code"),
        ({"git_url": URL, "recipe": "simulated"}, "git_url", "takes no code"),
    ],
)
def test_code_that_cannot_be_brought_is_refused_at_its_field(
    client, project, recipe, fields, field, why
):
    if content := fields.get("archive"):
        brought = archive({"a.py": ""})
        if content is not True:
            brought = SimpleUploadedFile("code.zip", content)
        fields = fields | {"archive": brought}

    errors = errors_of(send(client, project, **{"recipe": recipe.pk, **fields}))

    assert list(errors) == [field]
    assert why in errors[field]


def test_recipe_that_needs_code_says_so_at_the_field(client, project, recipe):
    Recipe.objects.filter(pk=recipe.pk).update(code="required")

    errors = errors_of(send(client, project, recipe=recipe.pk))

    assert "needs code" in errors["archive"]


def test_code_is_not_asked_for_where_no_recipe_takes_it_from_the_reader(client, project, recipe):
    Recipe.objects.filter(pk=recipe.pk).update(code_from="operators")

    response = client.get(f"/dashboard/projects/{project.pk}/runs/new")

    assert not response.context["form"].offers_code  # in open mode nobody is an operator
    assert 'type="file"' not in response.content.decode()


def test_archive_for_operators_is_refused_from_whom_no_password_was_asked(client, project, recipe):
    Recipe.objects.filter(pk=recipe.pk).update(code_from="operators")

    send(client, project, recipe=recipe.pk, archive=archive({"train.py": ""}))

    assert RunCode.of(Run.objects.get()) is None
    assert not CodeBundle.objects.exists()


def test_operator_who_has_signed_in_brings_code(project, recipe):
    Recipe.objects.filter(pk=recipe.pk).update(code_from="operators")

    send(administrator(), project, recipe=recipe.pk, archive=archive({"train.py": ""}))

    assert RunCode.of(Run.objects.get()).bundle is not None


def test_recipes_say_what_code_they_take(client, project, recipe):
    text = str(form_of(client, project)["recipe"])

    [taking] = [line for line in text.splitlines() if 'value="with-code"' in line]
    [other] = [line for line in text.splitlines() if 'value="simulated"' in line]
    assert f'data-code="optional" data-repositories="{URL}"' in taking
    assert 'data-executor="simulated" data-code="none"' in other


def test_run_again_keeps_the_code_also_of_somebody_else(client, project, recipe):
    source = RunFactory(project=project, recipe=recipe)
    RunCode.objects.create(run=source, bundle=bundle({"train.py": ""}), patch="diff")
    Recipe.objects.filter(pk=recipe.pk).update(code_from="operators")
    query = f"?from={source.pk}"

    page = client.get(f"/dashboard/projects/{project.pk}/runs/new{query}").content.decode()
    send(client, project, query, recipe=recipe.pk, name="again")

    code = RunCode.of(Run.objects.get(name="again"))
    assert f"/runs/{source.pk}/code" in page
    assert (code.bundle_id, code.patch) == (RunCode.of(source).bundle_id, "diff")


def test_resumed_run_may_bring_other_code(client, project, recipe):
    source = RunFactory(project=project, recipe=recipe, status="已完成")
    RunCode.objects.create(run=source, bundle=bundle({"train.py": "1"}))
    saved = checkpoint(source, step=50)
    url = f"/dashboard/projects/{project.pk}/runs/{source.pk}/artifacts/{saved.pk}/resume"

    page = client.get(url).content.decode()
    client.post(url, {"name": "resumed", "archive": archive({"train.py": "2"})})

    assert "that of the earlier one" in page
    assert CodeBundle.objects.count() == 2
    assert RunCode.of(Run.objects.get(name="resumed")).bundle_id != RunCode.of(source).bundle_id


def test_runs_of_a_sweep_get_the_code_of_its_form(client, project, recipe):
    client.post(
        f"/dashboard/projects/{project.pk}/new-sweep",
        SWEEP | {"recipe": recipe.pk, "archive": archive({"train.py": ""})},
    )

    assert Sweep.objects.get().configuration["code"]["sha256"] == CodeBundle.objects.get().pk


def test_limit_of_an_archive_is_told_in_the_language_of_the_reader(client, project, recipe):
    response = client.get(
        f"/dashboard/projects/{project.pk}/runs/new", headers={"accept-language": "en"}
    )

    assert "At most 100 MB. The command line packs a folder itself." in response.content.decode()
