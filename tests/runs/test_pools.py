"""Which pool the GPUs of a run count against."""

import pytest
from django.utils import translation

from core.exceptions import InvalidInput
from runs.actions import create_run
from runs.models import GpuPool, Recipe
from tests.factories import GpuPoolFactory, ProjectFactory, RecipeFactory

pytestmark = pytest.mark.django_db


def pool_of(gpu_type="A100", count=1, executor="process"):
    pool = GpuPool.objects.for_run(executor, gpu_type, count)
    return None if pool is None else pool.name


def test_run_counts_against_the_pool_of_its_type():
    GpuPoolFactory()
    GpuPoolFactory(gpu_type="H100")

    assert pool_of("H100") == "H100"


def test_pool_of_the_executor_goes_before_that_of_all():
    GpuPoolFactory()
    GpuPoolFactory(name="A100 hosts", gpu_type="A100", executor="process")

    assert pool_of(executor="process") == "A100 hosts"
    assert pool_of(executor="simulated") == "A100"


def test_case_of_the_type_does_not_matter():
    GpuPoolFactory()

    assert pool_of("a100") == "A100"


def test_unknown_type_is_refused_with_the_types_that_there_are():
    GpuPoolFactory()
    GpuPoolFactory(gpu_type="H100")
    GpuPoolFactory(gpu_type="MI300", executor="simulated")

    with translation.override("en"), pytest.raises(InvalidInput) as refused:
        pool_of("V100")

    assert str(refused.value.message) == "There are no V100 GPUs. There are: A100, H100."
    assert refused.value.attr == "resources.gpu_type"


def test_nobody_counts_where_there_is_no_pool():
    assert pool_of("V100") is None


def test_run_without_gpus_counts_against_no_pool():
    GpuPoolFactory()

    assert pool_of("V100", count=0) is None


def test_run_that_names_no_type_gets_the_only_one():
    GpuPoolFactory()

    assert pool_of("") == "A100"


def test_run_that_names_no_type_of_several_is_refused():
    GpuPoolFactory()
    GpuPoolFactory(gpu_type="H100")

    with pytest.raises(InvalidInput):
        pool_of("")


def test_new_run_has_its_pool_and_the_pool_s_spelling():
    GpuPoolFactory()

    run = create_run(
        ProjectFactory(),
        by=None,
        recipe=Recipe.objects.get(name="simulated"),
        resources={"gpu_type": "a100", "gpu_count": 2},
    )

    assert (run.pool, run.gpu_type, run.gpu_count) == ("A100", "A100", 2)


def test_refused_run_leaves_nothing():
    GpuPoolFactory()
    project = ProjectFactory()

    with pytest.raises(InvalidInput):
        create_run(project, by=None, resources={"gpu_type": "V100", "gpu_count": 1})

    project.refresh_from_db()
    assert (project.runs.count(), project.run_count) == (0, 0)


def test_new_run_is_of_the_kind_of_its_recipe_and_as_preemptible():
    recipe = RecipeFactory(kind="evaluation", preemptible=True)

    run = create_run(ProjectFactory(), by=None, recipe=recipe)

    assert (run.kind, run.preemptible) == ("evaluation", True)


def test_request_says_otherwise_than_the_recipe():
    recipe = RecipeFactory(preemptible=True)

    assert not create_run(ProjectFactory(), by=None, recipe=recipe, preemptible=False).preemptible
