"""The runs that a run continues."""

import pytest

from artifacts.family import family_of
from artifacts.lineage import ancestors
from tests.factories import RunFactory, checkpoint

pytestmark = pytest.mark.django_db


def resumed(parent, **fields):
    """A run that continues ``parent`` from a checkpoint of it."""
    return RunFactory(
        project=parent.project, resumed_from_id=checkpoint(parent, step=50).pk, **fields
    )


def test_run_from_scratch_has_no_ancestors():
    assert ancestors(RunFactory()) == []


def test_ancestors_are_the_nearest_first_with_the_checkpoint_in_between():
    first = RunFactory()
    second = resumed(first)
    third = resumed(second)

    found = ancestors(third)

    assert [ancestor.run for ancestor in found] == [second, first]
    assert [ancestor.checkpoint.pk for ancestor in found] == [
        third.resumed_from_id,
        second.resumed_from_id,
    ]


def test_ancestors_take_two_queries_whatever_their_number(django_assert_num_queries):
    run = RunFactory()
    for _generation in range(5):
        run = resumed(run)

    with django_assert_num_queries(2):
        assert len(ancestors(run)) == 5


def test_a_circle_ends():
    run = RunFactory()
    run.resumed_from_id = checkpoint(run).pk
    run.save()

    assert [ancestor.run for ancestor in ancestors(run)] == [run]


def test_only_so_many_generations_are_read():
    first = RunFactory()
    second = resumed(first)
    third = resumed(second)

    assert [ancestor.run for ancestor in ancestors(third, at_most=1)] == [second]


def test_what_a_row_names_in_another_project_is_not_told():
    elsewhere = RunFactory()
    run = RunFactory(resumed_from_id=checkpoint(elsewhere).pk)

    assert ancestors(run) == []
    assert family_of(run).root.run == run
    assert not family_of(elsewhere).root.children
