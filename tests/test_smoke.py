import pytest

from projects.models import Project


@pytest.mark.django_db
def test_it_is_there():
    assert Project.objects.count() == 0
