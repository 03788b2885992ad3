"""Where the time of a run went, as a pure function."""

from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from goodput.account import DAY, NOTHING, Interval, Mark, MarkKind, account, by_day, sums
from goodput.parts import Part

SECOND = 1_000_000
WAITS, CLAIMED, STEP, STALLED, STOP, LEFT, RESTARTED = (
    MarkKind.WAITS,
    MarkKind.CLAIMED,
    MarkKind.STEP,
    MarkKind.STALLED,
    MarkKind.STOP,
    MarkKind.LEFT,
    MarkKind.RESTARTED,
)


def parts(*marks, until, pauses=(), kept=None):
    """The seconds of each part that there is; ``marks``: (second, kind) or (second, kind, step)."""
    intervals = account(
        [Mark(at * SECOND, kind, *step) for at, kind, *step in marks],
        began=0,
        until=until * SECOND,
        pauses=[Interval(part, a * SECOND, b * SECOND) for part, a, b in pauses],
        kept=kept,
    )
    return {
        part.value: microseconds // SECOND
        for part, microseconds in sums(intervals).items()
        if microseconds
    }


# --- any history -----------------------------------------------------------------------------

TIMES = st.integers(-1_000, 50_000) | st.sampled_from([0, 10_000, 10_001])
MARKS = st.lists(
    st.builds(
        Mark, TIMES, st.sampled_from(MarkKind), st.none() | st.integers(-5, 50) | st.just(NOTHING)
    ),
    max_size=40,
)
PAUSES = st.lists(
    st.builds(Interval, st.sampled_from([Part.SAVING, Part.EVALUATING]), TIMES, TIMES), max_size=15
)


# Other tests may take the time meanwhile.
at_leisure = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@at_leisure
@given(MARKS, PAUSES, TIMES, TIMES, st.none() | st.integers(-5, 50) | st.just(NOTHING))
def test_parts_sum_to_the_wall_time_exactly_for_any_history(marks, pauses, began, until, kept):
    intervals = account(marks, began=began, until=until, pauses=pauses, kept=kept)

    wall = max(0, until - began)
    assert sum(sums(intervals).values()) == wall
    edges = [began, *(interval.end for interval in intervals)]
    assert [interval.begin for interval in intervals] == edges[:-1]
    assert edges[-1] == began + wall
    assert all(interval.microseconds > 0 for interval in intervals)


@at_leisure
@given(MARKS, TIMES, st.integers(0, 400))
def test_days_sum_to_the_same(marks, began, days):
    scaled = [Mark(mark.at * 10**9, mark.kind, mark.step) for mark in marks]
    intervals = account(scaled, began=began * 10**9, until=began * 10**9 + days * DAY)

    of_days = by_day(intervals)

    for part, microseconds in sums(intervals).items():
        assert sum(day[part] for day in of_days.values()) == microseconds
    assert all(sum(day.values()) <= DAY for day in of_days.values())


@at_leisure
@given(MARKS, TIMES, TIMES, st.integers(-5, 50))
def test_what_is_thrown_away_was_training(marks, began, until, kept):
    before = sums(account(marks, began=began, until=until))
    after = sums(account(marks, began=began, until=until, kept=kept))

    assert after[Part.TRAINING] <= before[Part.TRAINING]
    others = [part for part in Part if part not in {Part.TRAINING, Part.REPEATED}]
    assert [after[part] for part in others] == [before[part] for part in others]


# --- the parts -------------------------------------------------------------------------------


def test_run_that_is_never_claimed_waits():
    assert parts((0, WAITS), until=9) == {"waiting": 9}


def test_run_that_completes():
    found = parts((3, CLAIMED), (5, STEP, 1), (20, STEP, 100), (21, LEFT), until=21)

    assert found == {"waiting": 3, "starting": 2, "training": 16}


def test_attempt_without_a_step_was_starting():
    assert parts((3, CLAIMED), (9, LEFT), until=9) == {"waiting": 3, "starting": 6}


def test_training_after_the_checkpoint_that_the_next_attempt_starts_from_is_repeated():
    found = parts(
        *((0, CLAIMED), (10, STEP, 0), (60, STEP, 50), (90, STEP, 80), (95, LEFT)),
        *((100, CLAIMED), (100, RESTARTED, 50), (110, STEP, 51), (160, STEP, 100), (160, LEFT)),
        until=160,
    )

    assert found == {"starting": 20, "training": 100, "repeated": 35, "down": 5}


def test_step_between_two_known_ones_was_reached_at_a_constant_pace():
    found = parts(
        *((0, CLAIMED), (0, STEP, 0), (100, STEP, 100), (100, LEFT)),
        *((100, CLAIMED), (100, RESTARTED, 25)),
        until=100,
    )

    assert found == {"training": 25, "repeated": 75}


def test_restart_from_an_older_checkpoint_makes_two_attempts_repeated():
    found = parts(
        *((0, CLAIMED), (0, STEP, 0), (50, STEP, 50), (60, LEFT)),
        *((60, CLAIMED), (60, RESTARTED, 50), (60, STEP, 51), (90, STEP, 80), (90, LEFT)),
        *((90, CLAIMED), (90, RESTARTED, 20)),
        until=90,
    )

    assert found == {"training": 20, "repeated": 70}


def test_failed_run_without_a_checkpoint_has_thrown_its_training_away():
    found = parts((0, CLAIMED), (5, STEP, 1), (20, LEFT), until=20, kept=NOTHING)

    assert found == {"starting": 5, "repeated": 15}


def test_checkpoint_later_than_the_last_step_reported_keeps_everything():
    found = parts((0, CLAIMED), (5, STEP, 1), (9, STEP, 10), (20, LEFT), until=20, kept=15)

    assert found == {"starting": 5, "training": 15}


def test_pauses_are_cut_out_of_training_alone():
    found = parts(
        *((0, CLAIMED), (10, STEP, 1), (40, STOP), (50, LEFT)),
        until=50,
        pauses=[(Part.SAVING, 5, 12), (Part.EVALUATING, 20, 25), (Part.SAVING, 38, 45)],
    )

    assert found == {
        "starting": 10, "training": 21, "saving": 4, "evaluating": 5, "stopping": 10
    }  # fmt: skip


def test_attempt_that_stalls_is_asked_to_stop_and_restarted():
    found = parts(
        *((0, CLAIMED), (10, STEP, 1), (30, STEP, 20), (30, STALLED), (60, STOP), (65, LEFT)),
        *((70, CLAIMED),),
        until=72,
    )

    assert found == {"starting": 12, "training": 20, "stalled": 30, "stopping": 5, "down": 5}


def test_run_that_advances_again_is_not_stalled_any_more():
    found = parts((0, CLAIMED), (0, STEP, 1), (10, STALLED), (15, STEP, 2), until=20)

    assert found == {"training": 15, "stalled": 5}


def test_cancel_in_the_queue_does_not_stop_anything():
    assert parts((4, STOP), (5, LEFT), until=5) == {"waiting": 5}


def test_paused_run_waits():
    found = parts((0, CLAIMED), (2, STEP, 1), (10, WAITS), (50, CLAIMED), until=60)

    assert found == {"starting": 12, "training": 8, "waiting": 40}


def test_run_that_is_reopened_was_down():
    found = parts((0, CLAIMED), (0, STEP, 1), (10, LEFT), (30, CLAIMED), (30, STEP, 2), until=40)

    assert found == {"training": 20, "down": 20}


def test_clock_that_goes_back_takes_no_time():
    found = parts((5, CLAIMED), (3, STEP, 1), (1, STEP, 2), (9, LEFT), until=9)

    assert found == {"waiting": 5, "training": 4}


def test_day_ends_at_midnight_utc():
    intervals = account([Mark(DAY - SECOND, CLAIMED)], began=0, until=DAY + SECOND)

    days = by_day(intervals)

    assert [(day, sum(parts.values()) // SECOND) for day, parts in days.items()] == [
        (date(1970, 1, 1), 86_400),
        (date(1970, 1, 2), 1),
    ]
    assert days[date(1970, 1, 2)][Part.STARTING] == SECOND


@pytest.mark.parametrize("part", Part)
def test_every_part_has_a_name(part):
    assert str(part.label)
