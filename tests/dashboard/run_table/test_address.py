"""What the table's address says, and that it says it again."""

import pytest
from django.http import QueryDict

from dashboard.run_table.address import Address, Sort, escape
from dashboard.run_table.columns import Column, Kind, Value, name_in_filters, parse_column
from runs.status import RunStatus


def of(text: str) -> Address:
    return Address.of(QueryDict(text))


def test_address_is_parsed():
    address = of(
        "columns=status,params.lr,min.eval_loss&sort=-metrics.loss&filter=step+%3E+3&name=a&who=b"
        "&status=已失败&status=已完成&tag=发布&sweep=sweep_1&group=params.lr&archived=with&page=3&view=view_1"
    )

    assert address == Address(
        columns=(
            Column(Kind.ATTRIBUTE, "status"),
            Column(Kind.PARAM, "lr"),
            Column(Kind.METRIC, "eval_loss", Value.MINIMUM),
        ),
        sort=Sort(Column(Kind.METRIC, "loss"), descending=True),
        filter="step > 3",
        name="a",
        statuses=(RunStatus.COMPLETED, RunStatus.FAILED),
        who="b",
        tag="发布",
        sweep="sweep_1",
        group=Column(Kind.PARAM, "lr"),
        archived="with",
        page=3,
        view="view_1",
    )


@pytest.mark.parametrize(
    "text",
    [
        "columns=status,params.lr&sort=-metrics.a/b&filter=a+%3D+%22%26%22&page=2",
        "columns=params.a%252Cb,tags.50%2525",
        "status=已失败&status=已暂停&sweep=sweep_1&group=who&archived=only&view=view_1",
        "",
    ],
)
def test_query_of_an_address_says_the_same(text):
    address = of(text)

    assert of(address.query) == address


@pytest.mark.parametrize(
    "text",
    [
        "columns=nonsense,params.,.,min,x.y",
        "sort=nonsense",
        "sort=best.speed",
        "group=metrics.loss",
        "group=progress",
        "status=nonsense",
        "tag=nonsense",
        "archived=nonsense",
        "page=x",
        "page=-1",
        "page=99999999999999999999",
        "name=%00",
        f"columns=params.{'x' * 251}",
    ],
)
def test_what_has_no_meaning_is_left_out(text):
    assert of(text) == Address()


def test_key_with_a_comma_is_one_column():
    column = parse_column("params.a,b")

    assert column is not None
    assert of(f"columns={escape(column.spec).replace('%', '%25')},status").columns == (
        column,
        Column(Kind.ATTRIBUTE, "status"),
    )


def test_change_begins_with_the_first_page():
    assert of("page=3&name=a").but(name="b") == "name=b"


def test_saved_view_keeps_neither_the_page_nor_its_own_id():
    assert of("page=3&name=a&view=view_1").view_query == "name=a"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "gpus = 1"),
        ("step > 3", "step > 3 and gpus = 1"),
        ("step > 3 or step < 1", "(step > 3 or step < 1) and gpus = 1"),
    ],
)
def test_comparison_is_added_to_the_filter(before, after):
    address = Address(filter=before, group=parse_column("gpus"))

    assert of(address.and_where("gpus = 1")) == Address(filter=after)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("eval/loss", "metrics.eval/loss"),
        ("batch size", "metrics.`batch size`"),
        ("a`b c", 'metrics."a`b c"'),
        ('a`b"', ""),
    ],
)
def test_names_are_quoted_as_filters_need_it(key, name):
    assert name_in_filters("metrics", key) == name


@pytest.mark.parametrize(
    ("old", "column"), [("created_at", "created"), ("started_at", "started"), ("name", "name")]
)
def test_sort_orders_of_earlier_addresses_still_work(old, column):
    assert of(f"sort=-{old}").sort == Sort(Column(Kind.ATTRIBUTE, column), descending=True)
