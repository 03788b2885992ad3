"""The curves of a checkpoint's lineage as pictures: of each run the steps that led to it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Final

from metrics import curves
from metrics.plots import DEFAULT_WIDTH, PlotCurve, PlotOptions, plot_png, plot_svg
from registry.model_card_facts import Facts

MAX_CURVES: Final = 3  # pictures


def curve_keys(facts: Facts) -> list[str]:
    """The metrics to draw: the main ones that have been measured."""
    return list(facts.metrics)[:MAX_CURVES]


def curve_svg(facts: Facts, key: str) -> bytes:
    return plot_svg(_segments(facts, key), PlotOptions(title=key))


def curve_data_uri(facts: Facts, key: str) -> str:
    """The picture itself as an address, so that a card needs no other file. PNG, because few
    readers of Markdown show SVG there."""
    picture = plot_png(_segments(facts, key), PlotOptions(title=key))
    return f"data:image/png;base64,{b64encode(picture).decode()}"


def _segments(facts: Facts, key: str) -> Iterator[PlotCurve]:
    start = facts.segments[0].run.start_step
    for segment in facts.segments:
        end = segment.checkpoint.step
        found = curves.curves(
            [segment.run.pk], [key], width=DEFAULT_WIDTH, from_step=start, to_step=end
        )
        label = segment.run.name if len(facts.segments) > 1 else ""
        for curve in found:
            yield PlotCurve(curve, label)
        start = start if end is None else end
