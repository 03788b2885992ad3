"""Tables of values."""

import pytest

from artifacts.previews import Unreadable, preview_of
from tests.artifacts.previews.files import uploaded

pytestmark = pytest.mark.django_db


def texts(cells):
    return [cell.text for cell in cells]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'name,value\n"x, y",1.5\n'),
        ("a.csv", 'name;value\n"x, y";1.5\n'),
        ("a.tsv", "name\tvalue\nx, y\t1.5\n"),
        ("a.csv", '\ufeffname,value\r\n"x, y",1.5\r\n'),
    ],
)
def test_rows_are_read_by_their_delimiter(name, content):
    table = preview_of(uploaded(name, content))

    assert texts(table.header) == ["name", "value"]
    assert [texts(row) for row in table.rows] == [["x, y", "1.5"]]
    assert [cell.is_number for cell in table.rows[0]] == [False, True]


def test_the_first_200_rows_are_shown():
    table = preview_of(uploaded("a.csv", "n\n" + "".join(f"{n}\n" for n in range(1000))))

    assert len(table.rows) == 200
    assert table.has_more_rows


def test_columns_and_cells_are_bounded():
    table = preview_of(uploaded("a.csv", ",".join(["x" * 5000] * 150)))

    assert len(table.header) == 100
    assert table.columns_left_out == 50
    assert max(map(len, texts(table.header))) == 300


@pytest.mark.parametrize("content", ["", "\n\n", "\x00\x01,", b"\xff\xfe\x00\xd8,\x80"])
def test_what_is_no_table_is_unreadable(content):
    with pytest.raises(Unreadable):
        preview_of(uploaded("a.csv", content))


def test_a_field_of_a_megabyte_is_unreadable():
    with pytest.raises(Unreadable):
        preview_of(uploaded("a.csv", '"' + "x" * 900_000))
