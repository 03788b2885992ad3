"""The runs that a run goes back to, and all that came of them."""

import pytest

from artifacts import family
from artifacts.family import family_of
from runs.actions import create_run, retry_run
from runs.models.run_queryset import PARENT_TAG
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory, checkpoint, unmanaged_run

pytestmark = pytest.mark.django_db


def resumed(parent, *, step=50, **fields):
    artifact = checkpoint(parent, step=step)
    return RunFactory(
        project=parent.project, resumed_from_id=artifact.pk, start_step=step, **fields
    )


def as_text(member):
    children = ", ".join(as_text(child) for child in member.children)
    step = f"@{member.link.step}" if member.link and member.link.step is not None else ""
    link = f"{member.link.kind}{step} " if member.link else ""
    return f"{link}{member.run.name}" + (f" ({children})" if children else "")


def test_run_by_itself_is_its_own_family():
    run = RunFactory(name="alone")

    assert as_text(family_of(run).root) == "alone"


def test_every_member_sees_the_same_tree():
    first = RunFactory(name="first")
    second = resumed(first, name="second")
    third = resumed(second, step=80, name="third")
    sibling = resumed(first, step=60, name="sibling")

    expected = "first (resumed@50 second (resumed@80 third), resumed@60 sibling)"
    for run in (first, second, third, sibling):
        assert as_text(family_of(run).root) == expected


def test_retried_run_comes_of_the_one_that_it_tries_again():
    run = create_run(ProjectFactory(), by=None, name="failed")
    run.transition(RunStatus.FAILED)
    again = retry_run(run, by=None)

    assert as_text(family_of(again).root) == f"failed (retried {again.name})"
    assert as_text(family_of(run).root) == f"failed (retried {again.name})"


def test_runs_nested_by_a_client_come_of_the_outer_one():
    outer = unmanaged_run(name="sweep")
    for name in ("a", "b"):
        unmanaged_run(name=name, project=outer.project, tags={PARENT_TAG: outer.pk})

    assert as_text(family_of(outer).root) == "sweep (nested a, nested b)"


def test_run_of_another_project_is_no_outer_one():
    outer = unmanaged_run(name="sweep")
    run = unmanaged_run(name="a", tags={PARENT_TAG: outer.pk})

    assert as_text(family_of(run).root) == "a"
    assert as_text(family_of(outer).root) == "sweep"


def test_family_of_hundreds_of_generations_is_whole():
    run = oldest = RunFactory()
    for _generation in range(150):
        run = resumed(run)

    for member in (oldest, run):
        found = family_of(member)
        assert found.root.run == oldest
        assert [generation for generation, _ in found.members()] == list(range(151))
        assert not found.is_cut


def test_ancestors_take_as_many_queries_as_a_parent(django_assert_max_num_queries):
    run = RunFactory()
    for _generation in range(20):
        run = resumed(run)

    with django_assert_max_num_queries(5):
        assert len(list(family_of(run).members())) == 21


def test_circles_end():
    one = unmanaged_run(name="one")
    other = unmanaged_run(name="other", project=one.project, tags={PARENT_TAG: one.pk})
    one.change(tags={PARENT_TAG: other.pk})

    assert {member.run.name for _, member in family_of(one).members()} == {"one", "other"}


def test_a_family_too_large_is_cut_and_says_so(monkeypatch):
    monkeypatch.setattr(family, "MAX_RUNS", 3)
    outer = unmanaged_run(name="sweep")
    for number in range(5):
        unmanaged_run(name=f"{number}", project=outer.project, tags={PARENT_TAG: outer.pk})

    found = family_of(outer)

    assert found.is_cut
    assert len(list(found.members())) == 3
