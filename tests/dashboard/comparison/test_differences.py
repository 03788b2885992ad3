"""The table of what differs between runs."""

from hypothesis import given
from hypothesis import strategies as st

from dashboard.comparison.differences import section
from dashboard.comparison.values import MISSING, same

RUNS = st.lists(
    st.dictionaries(
        st.sampled_from(["lr", "batch_size", "optimizer", "seed", "warmup"]),
        st.one_of(st.integers(0, 3), st.sampled_from(["0", "adamw", "1.0"]), st.none()),
    ),
    min_size=1,
    max_size=6,
)


def places(runs):
    return st.integers(0, len(runs) - 1)


@given(RUNS, st.data())
def test_every_name_is_in_one_row(runs, data):
    found = section("params", runs, data.draw(places(runs)))

    names = [row.name for row in (*found.differing, *found.equal)]
    assert sorted(names) == sorted({name for values in runs for name in values})


@given(RUNS, st.data())
def test_row_differs_if_and_only_if_two_runs_do(runs, data):
    found = section("params", runs, data.draw(places(runs)))

    for row in (*found.differing, *found.equal):
        values = [values.get(row.name, MISSING) for values in runs]
        assert [cell.value for cell in row.cells] == values
        assert row.differs == any(not same(values[0], value) for value in values)


@given(RUNS, st.data())
def test_baseline_equals_itself_and_has_no_delta(runs, data):
    baseline = data.draw(places(runs))
    found = section("params", runs, baseline)

    for row in (*found.differing, *found.equal):
        cell = row.cells[baseline]
        assert cell.is_baseline
        assert cell.equals_baseline
        assert cell.delta is None
        assert sum(other.is_baseline for other in row.cells) == 1


@given(RUNS)
def test_same_rows_differ_whatever_the_baseline_is(runs):
    names = {
        tuple(row.name for row in section("params", runs, baseline).differing)
        for baseline in range(len(runs))
    }

    assert len(names) == 1


def test_value_that_a_run_lacks_differs():
    found = section("params", [{"lr": 1}, {}], 0)

    [row] = found.differing
    assert row.cells[1].is_missing
    assert not row.cells[1].equals_baseline
