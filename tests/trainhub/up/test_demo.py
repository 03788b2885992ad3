"""The first start creates a demo project and an administrator password."""

import pytest

from accounts.open_mode import local_administrator
from projects.models import Project
from runs.models import GpuPool, Run
from runs.status import RunStatus
from tests.factories import GpuPoolFactory, ProjectFactory, UserFactory
from trainhub.up.demo import load_demo
from trainhub.up.first_start import ensure_administrator_password, new_password, operator_name

pytestmark = pytest.mark.django_db


# --- The demo project ------------------------------------------------------------------------


def test_demo_queues_simulated_runs_and_a_real_run():
    project = load_demo(by=local_administrator())

    assert project is not None
    runs = Run.objects.filter(project=project).order_by("name")
    assert [(run.name, run.recipe_id, run.status) for run in runs] == [
        ("char-lm", "char-lm", RunStatus.QUEUED),
        ("run-001", "simulated", RunStatus.QUEUED),
        ("run-002", "simulated", RunStatus.QUEUED),
    ]


@pytest.mark.parametrize(("language", "owner"), [("zh-hans", "小李"), ("en", "Lee")])
def test_demo_speaks_the_servers_language(settings, language, owner):
    settings.LANGUAGE_CODE = language

    project = load_demo(by=local_administrator())

    assert project is not None
    assert project.owner == owner


def test_demo_is_created_by_the_administrator():
    administrator = local_administrator()

    project = load_demo(by=administrator)

    assert project is not None
    assert [version.changed_by for version in project.versions()] == [administrator.username]
    assert {run.created_by for run in project.runs.all()} == {administrator}


def test_demo_runs_need_more_gpus_than_there_are():
    load_demo(by=local_administrator())

    pool = GpuPool.objects.get(gpu_type="A100")
    gpu_counts = Run.objects.filter(gpu_type="A100").values_list("gpu_count", flat=True)
    assert sum(gpu_counts) > pool.capacity >= max(gpu_counts)


def test_demo_is_not_loaded_if_a_project_exists():
    ProjectFactory()

    assert load_demo(by=local_administrator()) is None
    assert Project.objects.count() == 1


def test_deleted_demo_is_not_loaded_again():
    load_demo(by=local_administrator())
    Run.objects.all().delete()
    Project.objects.all().delete()

    assert load_demo(by=local_administrator()) is None
    assert Project.objects.count() == 0


def test_demo_does_not_change_an_existing_pool():
    GpuPoolFactory(gpu_type="A100", capacity=2)

    load_demo(by=local_administrator())

    assert GpuPool.objects.get(gpu_type="A100").capacity == 2


# --- The administrator's password ------------------------------------------------------------


def test_first_start_sets_an_administrator_password_stored_as_a_hash():
    password = ensure_administrator_password()

    assert password is not None
    administrator = local_administrator()
    assert administrator.check_password(password)
    assert password not in administrator.password
    assert (administrator.is_superuser, administrator.is_staff) == (True, True)


def test_later_start_keeps_the_password():
    password = ensure_administrator_password()

    assert ensure_administrator_password() is None
    assert local_administrator().check_password(password or "")


def test_passwords_are_random():
    assert len({new_password() for _ in range(100)}) == 100


def test_no_password_is_created_if_a_superuser_can_sign_in():
    operator = UserFactory(username="operator", is_superuser=True, is_staff=True)
    operator.set_password("their own")
    operator.save()

    assert ensure_administrator_password() is None
    assert operator_name() == "operator"


def test_ordinary_user_named_admin_gets_no_password():
    member = UserFactory(username="admin", is_superuser=False)

    assert ensure_administrator_password() is None
    member.refresh_from_db()
    assert member.password == ""
