"""How much of their planned work runs do before they end."""

from random import Random

import pytest

from execution.scheduling.candidate import Candidate, Place
from execution.scheduling.endings import Endings
from execution.scheduling.supply import Hold, Release
from runs.status import RunStatus
from tests.factories import GpuPoolFactory, RecipeFactory, RunFactory

NOW = 1_000_000.0


def hold(*, left, planned, recipe="train"):
    return Hold(Release(NOW + left, 8), False, True, False, recipe, planned)


def drawn_ends(endings, held, count=200):
    """Seconds from now, in ascending order."""
    random = Random(1)
    return sorted(endings.hold(held, NOW, random).release.comes - NOW for _number in range(count))


def ended(share, *, recipe, pool="A100", status=RunStatus.CANCELLED, **fields):
    return RunFactory(
        recipe=recipe,
        pool=pool,
        status=status,
        total_steps=1000,
        step=round(1000 * share),
        held_seconds=60.0,
        **fields,
    )


def test_run_ends_where_earlier_ones_have_ended():
    endings = Endings({"train": [0.25, 0.5, 1.0]})

    ends = drawn_ends(endings, hold(left=100.0, planned=100.0))

    assert set(ends) == {25.0, 50.0, 100.0}
    assert ends[100] == 50.0


def test_run_does_not_end_before_now():
    endings = Endings({"train": [0.25, 0.5, 1.0]})

    ends = drawn_ends(endings, hold(left=60.0, planned=100.0))

    assert {round(at, 6) for at in ends} == {10.0, 60.0}


def test_run_that_has_done_more_than_any_before_ends_as_planned():
    endings = Endings({"train": [0.25, 0.5]})

    assert set(drawn_ends(endings, hold(left=40.0, planned=100.0))) == {40.0}


@pytest.mark.parametrize(
    "held",
    [hold(left=40.0, planned=None), hold(left=40.0, planned=100.0, recipe="other")],
    ids=["length unknown", "recipe without ends"],
)
def test_run_of_which_nothing_is_known_ends_as_planned(held):
    assert set(drawn_ends(Endings({"train": [0.7]}), held)) == {40.0}


def test_waiting_run_gets_a_part_of_its_length():
    place = Place(True, 0, 0.0, 0.0, "waiting")
    waiting = Candidate(
        "waiting", "project", place, 8, 100.0, recipe_id="train", planned_seconds=100.0
    )

    drawn = Endings({"train": [0.5]}).candidate(waiting, Random(1))

    assert (drawn.expected_seconds, drawn.real_seconds) == (100.0, 50.0)


def test_resumed_run_ends_no_earlier_than_it_has_come():
    place = Place(True, 0, 0.0, 0.0, "resumed")
    resumed = Candidate(
        "resumed", "project", place, 8, 20.0, recipe_id="train", planned_seconds=100.0
    )

    drawn = Endings({"train": [0.5, 0.9]}).candidate(resumed, Random(1))

    assert drawn.real_seconds == pytest.approx(10.0)


@pytest.mark.django_db
def test_shares_are_those_of_the_recipe_and_the_pool():
    GpuPoolFactory()
    train, other = RecipeFactory.create_batch(2)
    ended(0.25, recipe=train)
    ended(0.5, recipe=train, status=RunStatus.FAILED)
    ended(1.0, recipe=train, status=RunStatus.COMPLETED)
    ended(0.9, recipe=other)
    ended(0.1, recipe=train, pool="H100")
    ended(0.1, recipe=train, status=RunStatus.RUNNING, finished_at=None)

    endings = Endings.read("A100")

    ends = drawn_ends(endings, hold(left=100.0, planned=100.0, recipe=train.pk))
    assert set(ends) == {25.0, 50.0, 100.0}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("held_seconds", "left"), [(30.0, 20.0), (1e6, 80.0)], ids=["less", "more than expected"]
)
def test_part_of_a_run_without_steps_is_that_of_its_time_up_to_all(held_seconds, left):
    GpuPoolFactory()
    recipe = RecipeFactory()
    RunFactory(
        recipe=recipe,
        pool="A100",
        status=RunStatus.FAILED,
        total_steps=0,
        held_seconds=held_seconds,
        expected_seconds=120.0,
    )

    ends = drawn_ends(Endings.read("A100"), hold(left=80.0, planned=80.0, recipe=recipe.pk))

    assert set(ends) == {left}
