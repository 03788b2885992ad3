"""When the runs of a queue will start."""

from execution.scheduling.forecast import forecast
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
