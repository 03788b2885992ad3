"""Which checkpoints of a run a policy keeps, by arithmetic alone."""

from hypothesis import given
from hypothesis import strategies as st

from registry.checkpoint_retention import Candidate, Mode, Retention, kept_by, newest_of

VALUES = st.none() | st.floats(allow_infinity=True)
RUNS = st.dictionaries(st.integers(0, 50), VALUES, max_size=12)
RULES = st.builds(
    Retention,
    metric=st.just("loss"),
    mode=st.sampled_from(Mode),
    best=st.integers(0, 4),
    last=st.integers(0, 4),
    every=st.integers(0, 10),
)


def candidates(values):
    return [
        Candidate(f"c{step}", step, (step, 0.0, f"c{step}"), value)
        for step, value in values.items()
    ]


def kept(values, **rules):
    found = kept_by(Retention(metric="loss", **rules), candidates(values))
    return sorted(int(pk[1:]) for pk in found)


def test_the_lowest_or_the_highest_are_the_best():
    values = {1: 0.5, 2: 0.1, 3: 0.9, 4: 0.2}

    assert kept(values, best=2, mode=Mode.MIN) == [2, 4]
    assert kept(values, best=2, mode=Mode.MAX) == [1, 3]


def test_newer_of_equal_values_is_better():
    assert kept({1: 0.5, 2: 0.5, 3: 0.9}, best=1) == [2]


def test_unmeasured_checkpoint_is_not_among_the_best():
    assert kept({1: 0.5, 2: None, 3: float("nan")}, best=1) == [1]


def test_checkpoint_that_may_still_be_measured_is_kept():
    """Evaluations come later: the newest ones have no value yet, older ones never get one."""
    assert kept({1: 0.5, 2: None, 3: 0.4, 4: None, 5: None}, best=1) == [3, 4, 5]


def test_checkpoints_without_a_value_are_kept_while_there_are_fewer_values_than_the_best():
    values = {1: None, 2: None, 3: 0.5, 4: 0.4}

    assert kept(values, best=3) == [1, 2, 3, 4]
    assert kept(values, best=2) == [3, 4]


def test_newest_stays_of_a_run_of_which_no_rule_keeps_any():
    found = newest_of(candidates({1: None, 3: None, 2: None}))

    assert list(found) == ["c3"]


def test_run_without_the_metric_keeps_all():
    assert kept({1: None, 2: float("nan")}, best=1) == [1, 2]


def test_last_are_those_of_the_highest_steps():
    assert kept({10: None, 30: None, 20: None}, last=2) == [20, 30]


def test_steps_that_are_multiples_are_kept():
    assert kept({5: None, 10: None, 15: None, 20: None}, every=10) == [10, 20]


@given(values=RUNS, rules=RULES)
def test_rules_keep_together_what_each_of_them_keeps(values, rules):
    alone = [
        Retention(metric="loss", mode=rules.mode, **{name: getattr(rules, name)})
        for name in ("best", "last", "every")
    ]

    together = kept_by(rules, candidates(values)).keys()

    assert together == set().union(*(kept_by(each, candidates(values)) for each in alone))


@given(values=RUNS, rules=RULES)
def test_no_removed_checkpoint_is_better_than_one_of_the_best(values, rules):
    found = kept_by(rules, candidates(values))
    measured = {
        step: value for step, value in values.items() if value == value and value is not None
    }
    sign = 1 if rules.mode is Mode.MIN else -1
    best = sorted(sign * value for value in measured.values())[: rules.best]
    removed = [sign * value for step, value in measured.items() if f"c{step}" not in found]

    assert not best or all(value >= best[-1] for value in removed)
