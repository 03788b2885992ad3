"""A project with runs, and agents of its people."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from accounts.models import Token
from accounts.roles import Role, Scope
from projects.models import Project
from tests.agents.agent import Agent
from tests.factories import ProjectFactory, UserFactory, member_of


@pytest.fixture(autouse=True)
def require_sign_in(settings: Settings) -> None:
    settings.OPEN_MODE = False


@pytest.fixture
def project(db: None) -> Project:
    return ProjectFactory.create(name="summaries")


@pytest.fixture
def member(project: Project) -> User:
    return member_of(project, Role.MEMBER, username="mei")


@pytest.fixture
def agent(member: User) -> Agent:
    """Of a member, by a token that may write."""
    return agent_of(member)


@pytest.fixture
def reader(member: User) -> Agent:
    """Of the same member, by a token that only reads."""
    return agent_of(member, scope=Scope.READ)


@pytest.fixture
def stranger(db: None) -> Agent:
    return agent_of(UserFactory.create(username="stranger"))


def agent_of(user: User, *, scope: Scope = Scope.WRITE, **fields: object) -> Agent:
    return Agent(Token.issue(user, scope=scope, **fields)[1])


Issue = Callable[..., Agent]
