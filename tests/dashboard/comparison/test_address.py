"""The address of a comparison."""

from urllib.parse import parse_qs

from hypothesis import given
from hypothesis import strategies as st

from dashboard.comparison.address import MAX_VALUES, NAMES, Address

TEXTS = st.text(alphabet="ab,&=%?+é中\x00 ", max_size=8)
IDS = st.lists(st.text(alphabet="abc123_", min_size=1, max_size=8), max_size=5)
QUERIES = st.dictionaries(
    st.sampled_from([name for name in NAMES if name != "runs"]), st.lists(TEXTS, max_size=3)
)


def read(text):
    return Address.of(parse_qs(text.removeprefix("?"), keep_blank_values=True).items())


@given(IDS, QUERIES)
def test_address_that_is_written_and_read_again_is_the_same(ids, query):
    address = Address.of({**query, "runs": ids}.items())

    assert read(str(address)) == address


@given(st.dictionaries(TEXTS, st.lists(TEXTS, max_size=3)))
def test_no_query_is_refused(query):
    address = Address.of(query.items())

    assert set(address.values) <= set(NAMES)
    assert "\x00" not in str(address)


def test_runs_are_repeated_or_joined_by_commas():
    assert read("?runs=a,b&runs=c,a,").all("runs") == ("a", "b", "c")


def test_changed_parameter_leaves_the_others():
    address = read("?runs=a,b&tab=summary&metrics=x")

    assert str(address.but(tab="curves")) == "?runs=a,b&tab=curves&metrics=x"
    assert str(address.but(metrics=None)) == "?runs=a,b&tab=summary"


def test_unknown_tab_is_the_first():
    assert read("?tab=nonsense").tab == "curves"


def test_removed_baseline_is_no_longer_the_baseline():
    address = read("?runs=a,b&baseline=b")

    assert str(address.without("b")) == "?runs=a"
    assert str(address.without("a")) == "?runs=b&baseline=b"


def test_hidden_fields_leave_out_what_a_form_sets():
    address = read("?runs=a,b&metrics=x&metrics=y&tab=summary")

    assert list(address.pairs("metrics")) == [("runs", "a,b"), ("tab", "summary")]


def test_longest_texts_and_lists_are_cut():
    address = Address.of([("metrics", ["x" * 10_000, *map(str, range(1000))])])

    assert len(address.all("metrics")) == MAX_VALUES
