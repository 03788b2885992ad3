"""Pictures drawn on the server."""

import math
import xml.etree.ElementTree as ET

import pytest

from dashboard.templatetags.plots import sparkline
from metrics.sparklines import Column


def path_of(svg: str) -> str:
    return ET.fromstring(svg)[0].attrib["d"]


def test_sparkline_is_an_image_with_a_name():
    svg = ET.fromstring(sparkline([1.0, 2.0], label='loss of "a"'))

    assert svg.attrib["role"] == "img"
    assert svg.attrib["aria-label"] == 'loss of "a"'


def test_extremes_of_a_column_are_drawn_as_a_stroke():
    assert path_of(sparkline([Column(0.0, 9.0, 1.0), Column(1.0, 1.0, 1.0)])).count("V") == 1


def test_missing_values_interrupt_the_line():
    assert path_of(sparkline([1.0, 2.0, math.nan, 2.0, 1.0])).count("M") == 2


@pytest.mark.parametrize("values", [None, [], [1.0], [math.nan, math.inf]])
def test_nothing_is_drawn_of_fewer_than_two_values(values):
    assert sparkline(values) == ""


@pytest.mark.parametrize("values", [[3.0, 3.0], [1e308, -1e308]])
def test_constant_and_extreme_values_stay_within_the_picture(values):
    assert "nan" not in path_of(sparkline(values))
    assert "inf" not in path_of(sparkline(values))
