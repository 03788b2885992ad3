"""Which runs of a pool start: order, reservations, backfilling, seats for evaluations. Pure."""

from hypothesis import given
from hypothesis import strategies as st

from execution.scheduling.candidate import Candidate, Place
from execution.scheduling.listed_queue import ListedQueue
from execution.scheduling.policy import Pass
from execution.scheduling.supply import Hold, Release, Supplies, Supply

NOW = 1_000_000.0


def candidate(name, count, *, expected=None, priority=0, usage=0.0, since=0.0, evaluates=False):
    place = Place(True, -priority, usage, since, name)
    return Candidate(name, f"project of {name}", place, count, expected, evaluates)


def supplies(capacity, *holds, reserve=0):
    """``holds``: (GPUs, seconds until they are released), of trainings."""
    used = sum(count for count, _seconds in holds)
    made = Supplies(
        pool=Supply(capacity, capacity - used),
        common=Supply(capacity - reserve, capacity - reserve - used),
        reserve=reserve,
    )
    made.add_releases(
        Hold(Release(NOW + seconds, count), False, True, False) for count, seconds in holds
    )
    return made


def started(candidates, pool):
    return [one.run_id for one in Pass(ListedQueue(candidates), pool, NOW)]


def test_runs_start_by_priority_then_usage_then_age():
    queue = [
        candidate("old", 1, since=1.0),
        candidate("frugal", 1, usage=-1.0, since=9.0),
        candidate("urgent", 1, priority=1, usage=9.0, since=9.0),
    ]

    assert started(queue, supplies(8)) == ["urgent", "frugal", "old"]


def test_run_gets_all_its_gpus_or_none():
    assert started([candidate("large", 8)], supplies(8, (1, 60.0))) == []


def test_long_run_does_not_delay_the_head():
    queue = [candidate("head", 8), candidate("long", 2, expected=100.0, since=1.0)]

    assert started(queue, supplies(8, (4, 60.0))) == []


def test_short_run_goes_ahead_of_the_head():
    queue = [candidate("head", 8), candidate("short", 2, expected=50.0, since=1.0)]

    assert started(queue, supplies(8, (4, 60.0))) == ["short"]


def test_long_run_takes_what_the_head_leaves():
    queue = [candidate("head", 6), candidate("long", 2, expected=1e9, since=1.0)]

    assert started(queue, supplies(8, (4, 60.0))) == ["long"]


def test_long_runs_take_no_more_than_the_head_leaves():
    queue = [
        candidate("head", 6),
        candidate("one", 1, expected=1e9, since=1.0),
        candidate("two", 2, since=2.0),
        candidate("three", 1, since=3.0),
    ]

    assert started(queue, supplies(8, (4, 60.0))) == ["one", "three"]


def test_run_of_unknown_length_does_not_go_ahead():
    queue = [candidate("head", 8), candidate("unknown", 1, since=1.0)]

    assert started(queue, supplies(8, (4, 60.0))) == []


def test_run_beyond_the_capacity_holds_up_nobody():
    queue = [candidate("impossible", 9), candidate("small", 8, since=1.0)]

    assert started(queue, supplies(8)) == ["small"]


def test_evaluation_starts_on_the_gpus_kept_for_them():
    queue = [candidate("training", 7), candidate("evaluation", 2, since=1.0, evaluates=True)]

    assert started(queue, supplies(8, (6, 60.0), reserve=2)) == ["evaluation"]


def test_training_never_takes_the_gpus_kept_for_evaluations():
    queue = [candidate("small", 2), candidate("large", 6, since=1.0)]

    assert started(queue, supplies(8, reserve=2)) == ["small"]


def test_evaluations_beyond_those_kept_for_them_wait_their_turn():
    queue = [candidate("head", 6)] + [
        candidate(f"evaluation {n}", 1, since=1.0 + n, evaluates=True) for n in range(4)
    ]

    pool = supplies(8, (4, 30.0), reserve=2)

    assert started(queue, pool) == ["evaluation 0", "evaluation 1"]


RUNS = st.lists(
    st.tuples(
        st.integers(1, 8),
        st.none() | st.floats(1, 1000),
        st.integers(0, 2),
        st.booleans(),
    ),
    max_size=12,
)
HOLDS = st.lists(st.tuples(st.integers(1, 4), st.floats(1, 1000)), max_size=2)


@given(RUNS, HOLDS, st.integers(0, 3))
def test_no_pass_overbooks_or_delays_the_head(rows, holds, reserve):
    queue = [
        candidate(str(n), count, expected=expected, priority=priority, since=n, evaluates=evaluates)
        for n, (count, expected, priority, evaluates) in enumerate(rows)
    ]
    pool = supplies(8, *holds, reserve=reserve)
    one = Pass(ListedQueue(queue), pool, NOW)
    taken = list(one)

    in_trainings = sum(item.gpu_count for item in taken if not item.is_evaluation)
    held = sum(count for count, _seconds in holds)
    assert sum(item.gpu_count for item in taken) + held <= 8
    assert in_trainings == 0 or in_trainings + held <= 8 - reserve
    if one.blocked is not None:
        assert one.reservation is not None
        # Of those that went ahead, the ones that may still be there have no more than it leaves.
        lasting = [item for item in taken if lasts_beyond(item, one, is_kept=reserve > 0)]
        later = supplies(8, *holds, reserve=reserve)
        for supply in (later.pool, later.common):
            supply.advance(one.reservation.at)
        later.pool.free -= sum(item.gpu_count for item in lasting)
        later.common.free -= sum(item.gpu_count for item in lasting if not item.is_evaluation)
        assert later.fits(one.blocked)


def lasts_beyond(item, one, *, is_kept):
    """Whether a run that was taken may still hold its GPUs when the blocked one starts. One of
    unknown length is guessed to take a minute, unless it went ahead.

    ``is_kept``: GPUs are, for evaluations, which may go ahead there."""
    expected = item.expected_seconds
    if expected is None:
        went_ahead = item.place > one.blocked.place and not (item.is_evaluation and is_kept)
        if went_ahead:
            return True
        expected = 60.0
    return NOW + expected > one.reservation.at
