"""When the runs of a queue will start."""

import pytest

from execution.scheduling import forecast as forecasts
from execution.scheduling.endings import Endings
from execution.scheduling.forecast import forecast, likely_starts
from execution.scheduling.policy import Pass
from execution.scheduling.supply import Hold, Release, Supplies, Supply
from tests.execution.scheduling.test_policy import NOW, candidate, supplies


def test_each_run_starts_when_those_before_it_leave_enough():
    queue = [
        candidate("first", 8, expected=100.0),
        candidate("second", 4, expected=50.0, since=1.0),
        candidate("third", 4, expected=10.0, since=2.0),
        candidate("fourth", 8, expected=10.0, since=3.0),
    ]

    starts = forecast(
        queue, supplies(8, (8, 60.0)), NOW, wanted={"first", "second", "third", "fourth"}
    )

    assert starts == {
        "first": NOW + 60,
        "second": NOW + 160,
        "third": NOW + 160,
        "fourth": NOW + 210,
    }


def test_run_of_unknown_length_is_taken_to_be_like_the_others():
    queue = [
        candidate("known", 8, expected=100.0),
        candidate("unknown", 8, since=1.0),
        candidate("last", 8, expected=100.0, since=2.0),
    ]

    assert forecast(queue, supplies(8), NOW, wanted={"last"}) == {"last": NOW + 200}


def test_run_of_unknown_length_does_not_go_ahead():
    queue = [
        candidate("head", 8, expected=100.0),
        candidate("unknown", 1, since=1.0),
        candidate("short", 1, expected=10.0, since=2.0),
    ]

    starts = forecast(queue, supplies(8, (4, 60.0)), NOW, wanted={"unknown", "short"})

    assert starts == {"unknown": NOW + 160, "short": NOW}


def test_run_that_never_fits_has_no_start():
    assert forecast([candidate("huge", 9)], supplies(8), NOW, wanted={"huge"}) == {}


WANTED = {"next", "head", "short"}


def holds_of(recipe, count):
    """Runs that will hold 4 GPUs for 100 s more, if they do all of their steps."""
    return [Hold(Release(NOW + 100, 4), False, True, False, recipe, 100.0)] * count


def nothing_free():
    return Supplies(pool=Supply(8, 0), common=Supply(8, 0))


def test_start_is_the_median_over_the_ends_that_runs_may_have():
    waiting = [candidate("next", 4)]

    starts = likely_starts(
        waiting,
        holds_of("train", 2),
        nothing_free,
        NOW,
        Endings({"train": [number / 100 for number in range(1, 101)]}),
        wanted=WANTED,
    )

    # The first of two ends that are anywhere from 0 to 100 s: with one chance in two before 29 s.
    assert starts["next"] == pytest.approx(NOW + 29, abs=20)


def test_start_is_the_same_whenever_it_is_asked_for():
    endings = Endings({"train": [0.1, 0.2, 0.5, 0.9]})

    first, second = (
        likely_starts(
            [candidate("next", 4)],
            holds_of("train", 2),
            nothing_free,
            NOW,
            endings,
            wanted=WANTED,
        )
        for _number in range(2)
    )

    assert first == second


def test_order_in_which_the_table_has_the_runs_that_hold_gpus_changes_nothing():
    endings = Endings({"train": [number / 100 for number in range(1, 101)]})
    holds = [
        Hold(Release(NOW + 100 + number, 4), False, True, False, "train", 1000.0)
        for number in range(2)
    ]

    first, second = (
        likely_starts([candidate("next", 4)], listed, nothing_free, NOW, endings, wanted={"next"})
        for listed in (holds, holds[::-1])
    )

    assert first == second != {}


def test_runs_of_known_and_unknown_endings_may_be_expected_to_end_together():
    waiting = [candidate("next", 8, expected=10.0)]

    starts = likely_starts(
        waiting,
        [*holds_of("train", 1), *holds_of("other", 1)],
        nothing_free,
        NOW,
        Endings({"train": [0.5]}),
        wanted=WANTED,
    )

    assert starts == {"next": NOW + 100}


def test_scheduler_does_not_foresee_that_a_run_ends_early():
    """It lets the short run go ahead of the head, which by its plan cannot start before."""
    waiting = [candidate("head", 8, expected=1000.0), candidate("short", 4, expected=50.0, since=1)]

    starts = likely_starts(
        waiting,
        holds_of("train", 1),
        lambda: Supplies(pool=Supply(8, 4), common=Supply(8, 4)),
        NOW,
        Endings({"train": [0.1]}),
        wanted=WANTED,
    )

    assert starts == {"short": NOW, "head": NOW + 50}


def test_only_what_is_asked_for_has_a_start():
    waiting = [candidate("next", 4, expected=10.0), candidate("last", 4, expected=10.0, since=1.0)]

    starts = likely_starts(
        waiting, holds_of("train", 2), nothing_free, NOW, Endings({}), wanted={"last"}
    )

    assert starts == {"last": NOW + 100}


def test_queue_that_needs_more_than_is_free_is_not_looked_through(monkeypatch):
    """Each look would go through all that is held."""
    passes = []
    monkeypatch.setattr(
        forecasts, "Pass", lambda *arguments: passes.append(arguments) or Pass(*arguments)
    )
    held = [Hold(Release(NOW + second, 1), False, True, False) for second in range(1, 101)]
    supplies = Supplies(pool=Supply(100, 0), common=Supply(100, 0))
    supplies.add_releases(held)

    starts = forecast([candidate("whole", 100)], supplies, NOW, wanted={"whole"})

    assert starts == {"whole": NOW + 100}
    assert len(passes) == 1
