"""When the demo data is loaded."""

import pytest
from django.core.management import CommandError, call_command

from accounts.open_mode import local_administrator
from projects.models import Project
from tests.factories import ProjectFactory
from trainhub.demo.loading import has_other_projects
from trainhub.up.demo import load_demo as load_first_project

pytestmark = pytest.mark.django_db


def test_project_of_the_first_start_is_no_other_project():
    load_first_project(by=local_administrator())

    assert not has_other_projects()


def test_command_refuses_where_there_are_other_projects():
    ProjectFactory()

    with pytest.raises(CommandError, match="--add"):
        call_command("load_demo")
    assert Project.objects.count() == 1
