"""How long a training paused to save and to evaluate."""

from goodput.account import Interval
from goodput.parts import Part
from goodput.pauses import Place, Probe, median_pace, pauses, places

SECOND = 1_000_000


def probe(step, at, next_step=None, next_at=None):
    after = None if next_step is None else (next_step, next_at * SECOND)
    return Probe((step, at * SECOND), after)


def found(place, *, pace):
    return [
        (pause.part, pause.begin // SECOND, pause.end // SECOND)
        for pause in pauses([place], pace * SECOND)
    ]


def test_pace_is_the_median():
    probes = [probe(1, 1, 2, 2), probe(2, 2, 3, 3), probe(3, 3, 4, 60), probe(4, 60)]

    assert median_pace(probes) == SECOND
    assert median_pace([]) == 0


def test_what_a_step_takes_longer_around_a_checkpoint_is_saving():
    place = Place(probe(10, 10, 11, 31), saves=True, evaluated=None)

    assert found(place, pace=1) == [(Part.SAVING, 10, 30)]


def test_steps_between_two_points_take_their_time():
    place = Place(probe(10, 10, 20, 40), saves=True, evaluated=None)

    assert found(place, pace=2) == [(Part.SAVING, 10, 20)]


def test_evaluating_lasts_until_it_is_reported_and_saving_follows():
    place = Place(probe(10, 10, 11, 31), saves=True, evaluated=22 * SECOND)

    assert found(place, pace=1) == [(Part.EVALUATING, 10, 22), (Part.SAVING, 22, 30)]


def test_step_that_is_as_quick_as_others_holds_no_pause():
    place = Place(probe(10, 10, 11, 11), saves=True, evaluated=10 * SECOND)

    assert found(place, pace=1) == []


def test_evaluation_after_the_last_step_lasts_until_it_is_reported():
    place = Place(probe(10, 10), saves=True, evaluated=15 * SECOND)

    assert found(place, pace=1) == [(Part.EVALUATING, 10, 15)]


def test_completed_training_saves_after_its_last_step():
    [place] = places([probe(10, 10)], [], end=18 * SECOND)

    assert list(pauses([place], SECOND)) == [Interval(Part.SAVING, 10 * SECOND, 18 * SECOND)]


def test_checkpoint_and_evaluation_in_one_gap_are_one_place():
    gap = probe(10, 10, 20, 40)

    [place] = places([gap], [(gap, 12), (gap, 15)], end=None)

    assert (place.saves, place.evaluated) == (True, 15)
