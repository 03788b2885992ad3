"""Which runs a caller sees."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import Http404

from accounts.grants import Grant, give
from accounts.roles import Role
from projects.access import visible_project
from projects.models import Project
from runs.models import Run
from tests.factories import ProjectFactory, RunFactory, UserFactory, member_of

pytestmark = pytest.mark.django_db

CALLERS: dict[str, Callable[[Run, Run], object]] = {
    "anonymous": lambda _run, _other: AnonymousUser(),
    "stranger": lambda _run, _other: UserFactory(),
    "stranger who is a member elsewhere": lambda _run, other: member_of(other.project),
    "viewer": lambda run, _other: member_of(run.project, Role.VIEWER),
    "viewer, of whom a member is needed": lambda run, _other: give(
        member_of(run.project, Role.VIEWER), Grant(needed_role=Role.MEMBER)
    ),
    "owner": lambda run, _other: member_of(run.project, Role.OWNER),
    "owner by a token of another project": lambda run, other: give(
        member_of(run.project, Role.OWNER), Grant(project_id=other.project_id)
    ),
    "script of the run": lambda run, _other: give(UserFactory(), Grant(run_id=run.pk)),
    "script of another run": lambda _run, other: give(UserFactory(), Grant(run_id=other.pk)),
    "superuser": lambda _run, _other: UserFactory(is_superuser=True),
    "superuser by a token of another project": lambda _run, other: give(
        UserFactory(is_superuser=True), Grant(project_id=other.project_id)
    ),
}


@pytest.mark.parametrize("caller", CALLERS)
def test_by_the_role_in_a_project_the_same_is_visible_as_by_condition(caller):
    run, other = RunFactory(), RunFactory()
    RunFactory(project=run.project)
    user = CALLERS[caller](run, other)
    project = run.project_id

    seen = set(Run.objects.visible_in(project, user))

    assert seen == set(Run.objects.visible_to(user).filter(project=project))
    assert bool(seen) == _finds(user, project)
    assert bool(seen) == Project.objects.visible_to(user).filter(pk=project).exists()


def _finds(user, project_id: str) -> bool:
    try:
        return visible_project(user, project_id).pk == project_id
    except Http404:
        return False


def test_superuser_finds_no_project_that_there_is_not():
    user = UserFactory(is_superuser=True)

    with pytest.raises(Http404):
        visible_project(user, ProjectFactory.build(pk="proj_000000000000").pk)
