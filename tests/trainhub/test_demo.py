"""The first start leaves a demo project and one way to sign in."""

import pytest

from accounts.open_mode import local_administrator
from projects.models import Project
from runs.models import GpuPool, Run
from runs.status import RunStatus
from tests.factories import ProjectFactory, UserFactory
from trainhub.demo import load_demo
from trainhub.first_start import equip_administrator, new_password, operator_name

pytestmark = pytest.mark.django_db


# --- The demo project ------------------------------------------------------------------------


def test_demo_queues_simulated_runs_and_a_real_one():
    project = load_demo(by=local_administrator())

    assert project is not None
    runs = Run.objects.filter(project=project).order_by("name")
    assert [(run.name, run.recipe_id, run.status) for run in runs] == [
        ("char-lm", "char-lm", RunStatus.QUEUED),
        ("run-001", "simulated", RunStatus.QUEUED),
        ("run-002", "simulated", RunStatus.QUEUED),
    ]


def test_demo_is_the_administrators_work():
    administrator = local_administrator()

    project = load_demo(by=administrator)

    assert project is not None
    assert [version.changed_by for version in project.versions()] == [administrator.username]
    assert {run.created_by for run in project.runs.all()} == {administrator}


def test_demo_runs_do_not_all_fit_on_its_gpus_at_once():
    load_demo(by=local_administrator())

    pool = GpuPool.objects.get(gpu_type="A100")
    asked = Run.objects.filter(gpu_type="A100").values_list("gpu_count", flat=True)
    assert sum(asked) > pool.capacity >= max(asked)


def test_demo_is_not_loaded_beside_a_project_that_is_there():
    ProjectFactory()

    assert load_demo(by=local_administrator()) is None
    assert Project.objects.count() == 1


def test_demo_that_was_deleted_does_not_come_back():
    load_demo(by=local_administrator())
    Run.objects.all().delete()
    Project.objects.all().delete()

    assert load_demo(by=local_administrator()) is None
    assert Project.objects.count() == 0


def test_demo_leaves_a_pool_that_is_there_as_it_is():
    GpuPool.objects.create(gpu_type="A100", capacity=2)

    load_demo(by=local_administrator())

    assert GpuPool.objects.get(gpu_type="A100").capacity == 2


# --- The administrator's password ------------------------------------------------------------


def test_first_start_gives_the_administrator_a_password_stored_as_a_hash():
    password = equip_administrator()

    assert password is not None
    administrator = local_administrator()
    assert administrator.check_password(password)
    assert password not in administrator.password
    assert (administrator.is_superuser, administrator.is_staff) == (True, True)


def test_later_start_keeps_the_password():
    password = equip_administrator()

    assert equip_administrator() is None
    assert local_administrator().check_password(password or "")


def test_passwords_are_random():
    assert len({new_password() for _ in range(100)}) == 100


def test_no_password_is_made_where_somebody_can_sign_in_already():
    operator = UserFactory(username="operator", is_superuser=True, is_staff=True)
    operator.set_password("their own")
    operator.save()

    assert equip_administrator() is None
    assert operator_name() == "operator"


def test_account_that_only_bears_the_administrators_name_gets_no_password():
    member = UserFactory(username="admin", is_superuser=False)

    assert equip_administrator() is None
    member.refresh_from_db()
    assert member.password == ""
