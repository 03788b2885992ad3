"""From events and attempts to an account, for any history that a database may hold."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.messages import Message
from goodput.account import Interval, account, sums
from goodput.attempts import Facts
from goodput.history import Event, History, is_wanted
from goodput.parts import Part
from runs.interruptions import preemption, pruning
from runs.models import EventKind, StopKind
from runs.status import RunStatus

TIMES = st.integers(-1_000, 50_000)
EVENTS = st.lists(
    st.builds(
        Event,
        TIMES,
        st.sampled_from(EventKind),
        st.sampled_from([*RunStatus, ""]),
        st.integers(1, 4),
        st.booleans(),
    ),
    max_size=25,
)
STEPS = st.lists(st.tuples(TIMES, st.integers(0, 60)), max_size=8)
PAUSES = st.lists(
    st.builds(Interval, st.sampled_from([Part.SAVING, Part.EVALUATING]), TIMES, TIMES), max_size=4
)
FACTS = st.dictionaries(
    st.integers(1, 4),
    st.builds(
        Facts,
        start_step=st.none() | st.integers(0, 60),
        started=st.none() | TIMES,
        reported=st.none() | TIMES,
        alive_until=st.none() | TIMES,
        evaluates=st.booleans(),
        steps=STEPS,
        pauses=PAUSES,
    ),
    max_size=4,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS, FACTS, st.booleans(), st.booleans(), TIMES, TIMES, st.none() | st.integers(-1, 60))
def test_parts_sum_to_the_wall_time_for_any_events(
    events, facts, is_unmanaged, is_completed, began, until, kept
):
    history = History(facts, is_unmanaged, is_completed, silent_us=1_000)

    marks = history.marks(events, began=began, until=until)
    pauses = [pause for known in facts.values() for pause in known.pauses]
    intervals = account(marks, began=began, until=until, pauses=pauses, kept=kept)

    assert sum(sums(intervals).values()) == max(0, until - began)
    assert all(one.end == other.begin for one, other in pairwise(intervals))


def test_run_that_is_taken_over_to_be_ended_is_down_until_then():
    events = [
        Event(0, EventKind.CREATED, RunStatus.QUEUED, 1),
        Event(10, EventKind.CLAIMED, RunStatus.RUNNING, 1),
        Event(30, EventKind.STOP_REQUESTED, "", 1, is_wanted=True),
        Event(40, EventKind.RECOVERED, "", 2),
        Event(50, EventKind.STATUS, RunStatus.CANCELLED, 2),
    ]
    history = History({}, is_unmanaged=False, is_completed=False, silent_us=1_000)

    found = sums(account(history.marks(events, began=0, until=50), began=0, until=50))

    assert {part.value: time for part, time in found.items() if time} == {
        "waiting": 10, "starting": 20, "stopping": 10, "down": 10
    }  # fmt: skip


def test_paused_run_waits_until_it_is_claimed_again():
    events = [
        Event(0, EventKind.CLAIMED, RunStatus.RUNNING, 1),
        Event(20, EventKind.STATUS, "已暂停", 1),
        Event(60, EventKind.CLAIMED, RunStatus.RUNNING, 2),
    ]
    facts = {1: Facts(steps=[(10, 1), (19, 10)]), 2: Facts(start_step=10, steps=[(70, 11)])}
    history = History(facts, is_unmanaged=False, is_completed=False, silent_us=1_000)

    found = sums(account(history.marks(events, began=0, until=90), began=0, until=90))

    assert {part.value: time for part, time in found.items() if time} == {
        "starting": 20, "training": 9 + 20, "repeated": 1, "waiting": 40
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [
        (StopKind.CANCEL.value, True),
        (StopKind.PAUSE.value, True),
        (preemption("run_x", 3), True),
        (pruning("sweep_x", 10), True),
        (StopKind.STALLED.value, False),
        (Message("No new step for %(seconds)d s.", seconds=60), False),
    ],
)
def test_only_a_stall_stops_a_run_that_nobody_wants_to_stop(reason, wanted):
    assert is_wanted(reason) is wanted


def test_run_in_the_queue_of_its_cluster_waits_until_it_is_started():
    events = [
        Event(0, EventKind.CREATED, RunStatus.QUEUED, 1),
        Event(10, EventKind.SUBMITTED, "", 1),
        Event(100, EventKind.STARTED, RunStatus.RUNNING, 1),
        Event(150, EventKind.REQUEUED, RunStatus.QUEUED, 1),
        Event(400, EventKind.STARTED, RunStatus.RUNNING, 1),
    ]
    history = History({}, is_unmanaged=False, is_completed=False, silent_us=10**9)

    parts = sums(account(history.marks(events, began=0, until=500), began=0, until=500))

    assert (parts[Part.WAITING], parts[Part.STARTING]) == (100 + 250, 50 + 100)
