"""Colors of series: --series-1 to --series-10 of static/css/tokens.css, again from the first after
the last. A run has the same one in table, legend and chart."""

from __future__ import annotations

from typing import Final

SERIES_COLORS: Final = 10


def color_number(place: int) -> int:
    """The number of the color of what is at that place, counted from 0."""
    return place % SERIES_COLORS + 1
