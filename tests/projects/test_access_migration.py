"""Upgrading from releases without roles: nobody loses what they could do."""

from importlib import import_module

import pytest
from django.apps import apps
from django.db import connection

from accounts.models import Team
from accounts.roles import Role
from projects.access import role_in
from projects.models import Project, ProjectRole
from tests.factories import ProjectFactory, UserFactory

pytestmark = pytest.mark.django_db

migration = import_module("projects.migrations.0004_access")


def migrate() -> None:
    migration.keep_access(apps, connection)


def test_every_active_user_maintains_every_project():
    project, user = ProjectFactory(), UserFactory()
    inactive = UserFactory(is_active=False)

    migrate()

    project.refresh_from_db()
    assert role_in(user, project.pk) == Role.MAINTAINER
    assert not project.team.memberships.filter(user=inactive).exists()


def test_whoever_created_a_project_owns_it():
    user = UserFactory()
    project = Project.create({"name": "mine"}, by=user)
    project.revise({"name": "renamed"}, by=UserFactory())
    ProjectRole.objects.all().delete()

    migrate()

    assert role_in(user, project.pk) == Role.OWNER
    assert project.roles.count() == 1


@pytest.mark.parametrize("there_are", ["no projects", "superusers alone"])
def test_no_team_is_made_for_nobody(there_are):
    if there_are == "no projects":
        UserFactory()
    else:
        ProjectFactory()
        UserFactory(is_superuser=True)

    migrate()

    assert not Team.objects.exists()


def test_teams_keep_taking_the_new_projects_of_their_members():
    owner, member = UserFactory(), UserFactory()
    team = Team.create("NLP", by=owner)
    team.add(member, Role.MEMBER, by=owner)
    [consent] = import_module("projects.migrations.0005_consent_of_members").Migration.operations

    with connection.cursor() as cursor:
        cursor.execute(consent.sql)

    assert Team.only_one_of(member) == team


def test_member_that_an_earlier_release_adds_meanwhile_has_not_consented():
    owner, member = UserFactory(), UserFactory()
    team = Team.create("NLP", by=owner)

    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO accounts_teammembership (team_id, user_id, role, created_at)"
            " VALUES (%s, %s, 20, now())",
            [team.pk, member.pk],
        )

    assert Team.only_one_of(member) is None
