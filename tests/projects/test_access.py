"""Roles in projects: who has which, what tokens leave of it, how fast a change is noticed."""

from datetime import timedelta

import pytest
from rest_framework.test import APIClient

from accounts.grants import Grant, give
from accounts.models import AccessVersion, ServiceAccount, Team, Token
from accounts.models.team import TeamGone
from accounts.roles import Role, Scope
from projects import access
from projects.membership import give_to_team
from projects.models import Project
from registry.models import RegisteredModel
from tests.factories import ProjectFactory, UserFactory, member_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def require_sign_in(settings):
    settings.OPEN_MODE = False


def calling(user, **limits) -> APIClient:
    client = APIClient(headers={"Authorization": f"Bearer {Token.issue(user, **limits)[1]}"})
    client.default_format = "json"
    return client


def in_team(role: Role, project: Project):
    user = UserFactory()
    Team.create(f"team of {user}", by=UserFactory()).add(user, role, by=None)
    project.team = user.team_memberships.get().team
    project.save()
    return user


# --- roles -----------------------------------------------------------------------------------


def test_stranger_has_no_role_and_sees_nothing():
    project, stranger = ProjectFactory(), UserFactory()

    assert access.role_in(stranger, project.pk) is None
    assert not Project.objects.visible_to(stranger).exists()


@pytest.mark.parametrize("role", Role)
def test_role_in_the_team_is_the_role_in_its_projects(role):
    project = ProjectFactory()
    user = in_team(role, project)

    assert access.role_in(user, project.pk) == role
    assert Project.objects.visible_to(user, role=role).get() == project
    higher = [other for other in Role if other > role]
    assert not any(Project.objects.visible_to(user, role=other).exists() for other in higher)


def test_higher_of_two_roles_counts():
    project = ProjectFactory()
    user = in_team(Role.VIEWER, project)

    project.roles.create(user=user, role=Role.MAINTAINER)

    assert access.role_in(user, project.pk) == Role.MAINTAINER


def test_superuser_owns_every_project():
    assert access.role_in(UserFactory(is_superuser=True), ProjectFactory().pk) == Role.OWNER


def test_whoever_creates_a_project_owns_it():
    user = UserFactory()

    made = calling(user).post("/projects", {"name": "mine"}).json()

    assert access.role_in(user, made["id"]) == Role.OWNER


def test_project_belongs_to_the_only_team_of_whoever_creates_it():
    user = UserFactory()
    team = Team.create("NLP", by=user)

    assert Project.create({"name": "ours"}, by=user).team == team


def test_project_of_whoever_is_in_several_teams_belongs_to_none():
    user = UserFactory()
    for name in ("NLP", "vision"):
        Team.create(name, by=user)

    assert Project.create({"name": "mine"}, by=user).team is None


@pytest.mark.parametrize("others", ["no team", "a team of their own"])
@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/projects", Project),
        ("/api/2.0/mlflow/experiments/create", Project),
        ("/api/2.0/mlflow/registered-models/create", RegisteredModel),
    ],
)
def test_nobody_gets_what_others_create_by_adding_them_to_a_team(path, model, others):
    attacker, victim = UserFactory(), UserFactory()
    own = Team.create("own", by=victim) if others == "a team of their own" else None
    client = calling(attacker)
    team = client.post("/teams", {"name": "trap"}).json()["id"]
    url = f"/teams/{team}/members/{victim.username}"
    assert client.put(url, {"role": "viewer"}).status_code == 200
    assert client.put(url, {"role": "owner"}).status_code == 200

    calling(victim).post(path, {"name": "secret"})

    assert model.objects.get(name="secret").team == own
    assert not model.objects.visible_to(attacker).exists()


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/projects", Project),
        ("/api/2.0/mlflow/experiments/create", Project),
        ("/api/2.0/mlflow/registered-models/create", RegisteredModel),
    ],
)
def test_what_a_member_creates_belongs_to_the_team_if_they_say_so(path, model):
    owner, member = UserFactory(), UserFactory()
    team = Team.create("NLP", by=owner)
    team.add(member, Role.MEMBER, by=owner)
    client = calling(member)
    client.patch(f"/teams/{team.pk}/members/{member.username}", {"takes_new_projects": True})

    client.post(path, {"name": "ours"})

    assert model.objects.visible_to(owner).get().team == team


# --- tokens ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "role"),
    [(Scope.READ, Role.VIEWER), (Scope.WRITE, Role.MAINTAINER), (Scope.ADMIN, Role.OWNER)],
)
def test_scope_of_a_token_limits_the_role(scope, role):
    project = ProjectFactory()
    user = give(member_of(project, Role.OWNER), Grant(highest_role=scope.highest_role))

    assert access.role_in(user, project.pk) == role


@pytest.mark.parametrize("is_superuser", [False, True])
def test_token_that_reads_changes_nothing(is_superuser):
    project = ProjectFactory()
    user = member_of(project, Role.OWNER)
    user.is_superuser = is_superuser
    user.save()
    client = calling(user, scope=Scope.READ)

    assert client.get(f"/projects/{project.pk}").status_code == 200
    assert client.patch(f"/projects/{project.pk}", {"name": "other"}).status_code == 403
    assert client.post("/projects", {"name": "new"}).status_code == 403


@pytest.mark.parametrize("is_superuser", [False, True])
def test_token_of_a_project_sees_no_other(is_superuser):
    project, other = ProjectFactory(), ProjectFactory()
    user = member_of(project, Role.OWNER)
    other.roles.create(user=user, role=Role.OWNER)
    user.is_superuser = is_superuser
    user.save()
    client = calling(user, project_id=project.pk)

    assert [item["id"] for item in client.get("/projects").json()] == [project.pk]
    assert client.get(f"/projects/{other.pk}").status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/projects", {"name": "another"}),
        ("/api/2.0/mlflow/experiments/create", {"name": "another"}),
        ("/api/2.0/mlflow/registered-models/create", {"name": "another"}),
    ],
)
def test_token_of_a_project_makes_nothing_outside_of_it(path, body):
    project = ProjectFactory()
    user = member_of(project, Role.OWNER)

    answer = calling(user, project_id=project.pk).post(path, body)

    assert answer.status_code == 403
    assert project.pk in answer.content.decode()
    assert not Project.objects.exclude(pk=project.pk).exists()
    assert not RegisteredModel.objects.exists()


def test_token_is_listed_without_its_secret_and_revoked():
    client = calling(UserFactory())
    issued = client.post("/tokens", {"name": "laptop", "scope": "read", "days": 30}).json()
    other = APIClient(headers={"Authorization": f"Bearer {issued['token']}"})
    assert other.get("/projects").status_code == 200

    listed = client.get("/tokens")
    client.delete(f"/tokens/{issued['id']}")

    assert issued["token"] not in listed.content.decode()
    assert "laptop" in [token["name"] for token in listed.json()]
    assert other.get("/projects").status_code == 401


def test_last_use_of_a_token_is_noted():
    client = calling(UserFactory())
    client.get("/projects")

    [token] = client.get("/tokens").json()

    assert token["last_used_at"] is not None


def test_token_of_a_hidden_project_is_refused():
    answer = calling(UserFactory()).post(
        "/tokens", {"name": "x", "project_id": ProjectFactory().pk}
    )

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["attr"] == "project_id"


def test_limited_token_makes_no_other():
    user = UserFactory()

    for limits in ({"scope": Scope.WRITE}, {"project_id": Project.create({}, by=user).pk}):
        answer = calling(user, **limits).post("/tokens", {"name": "x", "scope": "admin"})
        assert answer.status_code == 403


def test_owner_of_a_team_issues_tokens_to_its_service_account():
    owner = UserFactory()
    team = Team.create("NLP", by=owner)
    ServiceAccount.create("ci", team=team, by=owner)

    issued = calling(owner).post("/tokens", {"name": "ci", "user": "ci"}).json()

    assert issued["user"] == "ci"


def test_nobody_issues_tokens_to_others():
    UserFactory(username="li")

    answer = calling(UserFactory()).post("/tokens", {"name": "x", "user": "li"})

    assert answer.status_code == 400
    assert not Token.objects.filter(user__username="li").exists()


# --- who has access --------------------------------------------------------------------------


def test_owner_gives_and_takes_a_role():
    project, other = ProjectFactory(), UserFactory()
    client = calling(member_of(project, Role.OWNER))
    url = f"/projects/{project.pk}/members/{other.username}"

    client.put(url, {"role": "member"})
    given = access.role_in(other, project.pk)
    client.delete(url)

    assert (given, access.role_in(other, project.pk)) == (Role.MEMBER, None)


def test_project_keeps_an_owner_or_a_team():
    project = ProjectFactory()
    owner = member_of(project, Role.OWNER)

    answer = calling(owner).delete(f"/projects/{project.pk}/members/{owner.username}")

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "last_owner")


def test_project_is_given_to_a_team_of_the_owner_alone():
    project = ProjectFactory()
    owner = member_of(project, Role.OWNER)
    own, other = Team.create("own", by=owner), Team.create("other", by=UserFactory())
    client = calling(owner)

    refused = client.patch(f"/projects/{project.pk}/access", {"team": other.pk})
    client.patch(f"/projects/{project.pk}/access", {"team": own.pk})

    project.refresh_from_db()
    assert (refused.status_code, project.team) == (400, own)


def test_project_stays_in_a_team_that_its_owner_is_not_in():
    team = Team.create("NLP", by=UserFactory())
    project = ProjectFactory(team=team)
    client = calling(member_of(project, Role.OWNER))

    answer = client.patch(f"/projects/{project.pk}/access", {"team": team.pk})

    assert (answer.status_code, answer.json()["team"]) == (200, team.pk)


def test_deactivated_owner_does_not_count_as_one():
    project, gone = ProjectFactory(), UserFactory(is_active=False)
    owner = member_of(project, Role.OWNER)
    project.roles.create(user=gone, role=Role.OWNER)

    answer = calling(owner).delete(f"/projects/{project.pk}/members/{owner.username}")

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "last_owner")


def test_role_of_a_deactivated_user_is_taken():
    project, gone = ProjectFactory(), UserFactory(is_active=False)
    client = calling(member_of(project, Role.OWNER))
    project.roles.create(user=gone, role=Role.MEMBER)

    answer = client.delete(f"/projects/{project.pk}/members/{gone.username}")

    assert answer.status_code == 204
    assert not project.roles.filter(user=gone).exists()


def test_project_is_not_given_to_a_team_that_is_deleted_meanwhile():
    project = ProjectFactory()
    team = Team.create("NLP", by=member_of(project, Role.OWNER))
    Team.objects.get().disband()

    with pytest.raises(TeamGone):
        give_to_team(project, team)


# --- what web servers remember ---------------------------------------------------------------


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_change_of_access_counts_for_the_next_request(django_assert_num_queries):
    project = ProjectFactory()
    user = member_of(project, Role.MEMBER)
    client = calling(user)
    url = f"/projects/{project.pk}"
    assert client.get(url).status_code == 200

    project.roles.filter(user=user).delete()

    assert client.get(url).status_code == 404


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.parametrize("what", ["role", "membership", "team"])
def test_every_change_of_access_has_a_number(what):
    project, team = ProjectFactory(), Team.create("NLP", by=UserFactory())
    before = AccessVersion.objects.get().number

    if what == "role":
        project.roles.create(user=UserFactory(), role=Role.VIEWER)
    elif what == "membership":
        team.add(UserFactory(), Role.VIEWER, by=None)
    else:
        Project.objects.update(team=team)

    assert AccessVersion.objects.get().number > before


def test_expired_token_is_no_token():
    user = UserFactory()

    assert calling(user, life=timedelta(seconds=-1)).get("/projects").status_code == 401


def test_role_that_a_late_thread_remembers_is_not_told_to_newer_requests():
    remembered = access._Remembered()

    class Late(int):
        """The number of a request that is overtaken while it is compared."""

        def __ne__(self, other):
            is_different = int(self) != other
            if not is_different:
                remembered.put(2, 7, "proj_other", Role.VIEWER)
            return is_different

        __hash__ = int.__hash__

    remembered.put(1, 7, "proj_other", Role.VIEWER)

    remembered.put(Late(1), 7, "proj_x", Role.OWNER)

    assert remembered.get(2, 7, "proj_x") is None
