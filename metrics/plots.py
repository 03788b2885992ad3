"""Pictures of curves, as SVG and PNG: for pages without scripts, reports, chat and model cards.

They show what the charts of pages do (static/js/charts/): extremes in the curve's full color, the
line of the values or of the smoothed ones over them, outliers at the edge, NaN on the x axis. See
docs/adr/0025-pictures-of-curves.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from typing import Final, Literal

import numpy as np

from metrics import plot_axes
from metrics.curve_queries import Numbers
from metrics.curves import Buckets, Curve
from metrics.plot_axes import Range

Axis = Literal["step", "time", "relative"]
Theme = Literal["light", "dark", "auto"]

SMALLEST, LARGEST = 80, 4000  # pixels, of either side
DEFAULT_WIDTH, DEFAULT_HEIGHT = 720, 360
MOST_SMOOTHING: Final = 0.999


@dataclass(frozen=True, slots=True)
class Colors:
    surface: str
    text: str
    faint: str
    grid: str
    series: tuple[str, ...]


# The tokens of static/css/tokens.css.
THEMES: Final[dict[Literal["light", "dark"], Colors]] = {
    "light": Colors(
        "#ffffff",
        "#1b2127",
        "#57616b",
        "#e8ebee",
        (
            *("#2f6fb7", "#c85200", "#2b7f77", "#b8323a", "#3f8038"),
            *("#8f6d00", "#8a4a86", "#b04a63", "#7c5743", "#66605c"),
        ),
    ),
    "dark": Colors(
        "#191e23",
        "#e4e8eb",
        "#a0aab3",
        "#262d33",
        (
            *("#6aa9f0", "#ff9e5e", "#62cdc2", "#f7868d", "#87cc7d"),
            *("#e6c34f", "#d79bd3", "#ffa6bb", "#c9a08a", "#c2bab4"),
        ),
    ),
}


def _of_the_reader() -> tuple[Colors, str]:
    """Colors by name, and the style sheet that gives them: those of the scheme in which the picture
    is looked at. Where a policy forbids styles, and in what knows none, they are light."""
    light, dark = (
        {"surface": theme.surface, "text": theme.text, "faint": theme.faint, "grid": theme.grid}
        | {f"series-{number}": color for number, color in enumerate(theme.series, start=1)}
        for theme in (THEMES["light"], THEMES["dark"])
    )
    names = {name: f"var(--{name}, {color})" for name, color in light.items()}
    series = tuple(names[f"series-{number + 1}"] for number in range(len(THEMES["light"].series)))
    colors = Colors(names["surface"], names["text"], names["faint"], names["grid"], series)
    tokens = "".join(f"--{name}:{color};" for name, color in dark.items())
    return colors, f"@media(prefers-color-scheme:dark){{svg{{{tokens}}}}}"


OF_THE_READER, READERS_CSS = _of_the_reader()
FONTS: Final = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'PingFang SC', 'Microsoft YaHei', "
    "'Noto Sans CJK SC', 'Noto Sans SC', 'WenQuanYi Micro Hei', 'DejaVu Sans', sans-serif"
)


@dataclass(frozen=True, slots=True)
class PlotCurve:
    """A curve and how it is drawn. ``label``: its name in the legend. ``started_ms``: from when its
    relative times count; by default from its first point. ``color``: the number of its color, by
    default its place. ``superseded``: pale, behind the others."""

    curve: Curve
    label: str = ""
    started_ms: int | None = None
    color: int | None = None
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class PlotOptions:
    """``smoothing``: the weight of an exponential moving average, 0 for none. ``theme``: "auto" is
    that of the reader, and light in a PNG."""

    title: str = ""
    x: Axis = "step"
    log: bool = False
    smoothing: float = 0.0
    width: int = DEFAULT_WIDTH
    height: int = DEFAULT_HEIGHT
    theme: Theme = "light"


def plot_svg(curves: Iterable[PlotCurve], options: PlotOptions) -> bytes:
    """The picture as SVG, with the reader's fonts."""
    return _Picture(list(curves), options).svg().encode()


def plot_png(curves: Iterable[PlotCurve], options: PlotOptions) -> bytes:
    """The picture as PNG, with the fonts of this host."""
    import resvg_py  # on first use: most processes draw nothing

    if options.theme == "auto":
        options = replace(options, theme="light")
    return bytes(resvg_py.svg_to_bytes(svg_string=_Picture(list(curves), options).svg()))


def smooth(values: Numbers, weight: float) -> Numbers:
    """The debiased exponential moving average, as static/js/charts/smoothing.js has it."""
    smoothed = np.full(len(values), math.nan)
    average = total = 0.0
    for place, value in enumerate(values.tolist()):
        if math.isfinite(value):
            average = average * weight + (1 - weight) * value
            total = total * weight + (1 - weight)
            smoothed[place] = average / total
    return smoothed


TOP, RIGHT, BOTTOM, LEFT = 8, 10, 22, 54  # margins in pixels
LINE = 18  # the height of the title, and of the legend
MARK = 4.0
DOTS: Final = 60  # so few points are drawn as dots too
FAINTEST: Final = 0.3  # opacity of what is behind


class _Drawn:
    """A curve's columns on the axes."""

    def __init__(self, given: PlotCurve, place: int, options: PlotOptions) -> None:
        data = given.curve.data
        self.given = given
        self.number = place if given.color is None else given.color
        self.value = data.value
        buckets = data if isinstance(data, Buckets) else None
        self.is_exact = buckets is None
        self.low = data.value if buckets is None else buckets.minimum
        self.high = data.value if buckets is None else buckets.maximum
        steps, times = data.step, data.ms
        first_steps = steps if buckets is None else buckets.first_step
        first_times = times if buckets is None else buckets.first_ms
        if options.x == "step":
            self.start, self.end = first_steps.astype(float), steps.astype(float)
            return
        zero = 0
        if options.x == "relative" and len(times):
            zero = int(first_times[0]) if given.started_ms is None else given.started_ms
        self.start, self.end = (first_times - zero) / 1000, (times - zero) / 1000
        order = np.argsort(self.end, kind="stable")  # times go back where a clock was set back
        for name in ("start", "end", "value", "low", "high"):
            setattr(self, name, getattr(self, name)[order])


class _Picture:
    def __init__(self, given: list[PlotCurve], options: PlotOptions) -> None:
        self.options = options
        self.colors = OF_THE_READER if options.theme == "auto" else THEMES[options.theme]
        drawn = [_Drawn(curve, place, options) for place, curve in enumerate(given)]
        self.curves = sorted(drawn, key=lambda curve: not curve.given.superseded)
        self.names = [curve for curve in drawn if curve.given.label and not curve.given.superseded]
        self.top = TOP + LINE * (bool(options.title) + bool(self.names))
        self.left, self.right = LEFT, max(LEFT + 1, options.width - RIGHT)
        self.bottom = max(self.top + 1, options.height - BOTTOM)

    @cached_property
    def x(self) -> Range:
        starts = [curve.start[0] for curve in self.curves if len(curve.start)]
        ends = [curve.end[-1] for curve in self.curves if len(curve.end)]
        if not starts:
            return Range(0.0, 1.0)
        low, high = float(min(starts)), float(max(ends))
        return Range(low, high) if low < high else Range(low - 1, low + 1)

    @cached_property
    def y(self) -> Range:
        empty = [np.empty(0)]
        lows = np.concatenate([curve.low for curve in self.curves] or empty)
        highs = np.concatenate([curve.high for curve in self.curves] or empty)
        return plot_axes.fitted(lows, highs, log=self.options.log)

    def across(self, values: Numbers) -> Numbers:
        span = self.x.high - self.x.low
        return self.left + (values - self.x.low) / span * (self.right - self.left)

    def up(self, values: Numbers) -> Numbers:
        """Beyond the axis as far as the picture is high, at most."""
        low, high = self.y.low, self.y.high
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if self.options.log:
                values = np.where(values > 0, np.log10(np.where(values > 0, values, 1)), -np.inf)
                low, high = math.log10(low), math.log10(high)
            share = (values - low) / (high - low)
        return self.bottom - np.clip(share, -1, 2) * (self.bottom - self.top)

    # --- SVG -----------------------------------------------------------------------------------

    def svg(self) -> str:
        width, height = self.options.width, self.options.height
        inner = f'x="{self.left}" y="{self.top}"'
        size = f'width="{self.right - self.left}" height="{self.bottom - self.top}"'
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="{FONTS}" font-size="11">',
            f"<title>{_text(self.options.title)}</title>" if self.options.title else "",
            f"<style>{READERS_CSS}</style>" if self.options.theme == "auto" else "",
            f'<rect width="{width}" height="{height}" fill="{self.colors.surface}"/>',
            f'<clipPath id="area"><rect {inner} {size}/></clipPath>',
            *self._head(),
            *self._axes(),
            '<g clip-path="url(#area)">',
            *(part for curve in self.curves for part in self._curve(curve)),
            "</g>",
            self._note(),
            "</svg>",
        ]
        return "\n".join(part for part in parts if part)

    def _head(self) -> list[str]:
        parts, line = [], TOP + 10
        if self.options.title:
            title = _text(_cut(self.options.title, (self.options.width - 20) // 7))
            parts.append(
                f'<text x="10" y="{line}" font-size="13" font-weight="600" '
                f'fill="{self.colors.text}">{title}</text>'
            )
            line += LINE
        x = 10.0
        for curve in self.names:
            name = _cut(curve.given.label, 40)
            if x + 16 + _width(name) > self.options.width and x > 10:
                parts.append(f'<text x="{x:.0f}" y="{line}" fill="{self.colors.faint}">…</text>')
                break
            parts.append(
                f'<rect x="{x:.0f}" y="{line - 8}" width="8" height="8" '
                f'fill="{self._color(curve)}"/>'
                f'<text x="{x + 12:.0f}" y="{line}" fill="{self.colors.faint}">{_text(name)}</text>'
            )
            x += 26 + _width(name)
        return parts

    def _axes(self) -> list[str]:
        ticks = plot_axes.ticks(
            self.y, max(2, (self.bottom - self.top) // 40), log=self.options.log
        )
        lines, texts = [], []
        for tick, at in zip(ticks, self.up(np.array(ticks, dtype=float)).tolist(), strict=True):
            lines.append(f"M{self.left} {at:.1f}H{self.right}")
            texts.append(
                f'<text x="{self.left - 6}" y="{at + 4:.1f}" text-anchor="end">'
                f"{plot_axes.number_text(tick)}</text>"
            )
        across, names = self._x_ticks()
        for name, at in zip(
            names, self.across(np.array(across, dtype=float)).tolist(), strict=True
        ):
            lines.append(f"M{at:.1f} {self.top}V{self.bottom}")
            anchor = "end" if at > self.right - 20 else "middle"
            texts.append(
                f'<text x="{at:.1f}" y="{self.bottom + 15}" text-anchor="{anchor}">{name}</text>'
            )
        return [
            f'<path d="{"".join(lines)}" stroke="{self.colors.grid}" fill="none"/>',
            f'<g fill="{self.colors.faint}">',
            *texts,
            "</g>",
        ]

    def _x_ticks(self) -> tuple[list[float], list[str]]:
        width = self.right - self.left
        if self.options.x == "step":
            found = plot_axes.ticks(self.x, max(2, width // 80))
            return found, [plot_axes.step_text(tick) for tick in found]
        found = plot_axes.time_ticks(self.x, max(2, width // 100))
        if self.options.x == "time":
            return found, plot_axes.clock_texts(found)
        return found, [plot_axes.duration_text(tick) for tick in found]

    def _color(self, curve: _Drawn) -> str:
        return self.colors.series[curve.number % len(self.colors.series)]

    def _curve(self, curve: _Drawn) -> list[str]:
        if not len(curve.value):
            return []
        opacity = FAINTEST if curve.given.superseded else 1.0
        color = self._color(curve)
        xs = self.across(curve.end)
        smoothing = self.options.smoothing
        line = f'fill="none" stroke="{color}" stroke-width="1.4" stroke-linejoin="round"'
        behind = opacity * FAINTEST if smoothing else opacity
        values = _line(xs, self.up(curve.value), curve.value)
        parts = [
            f'<path d="{self._extremes(curve)}" fill="{color}"{_opacity(behind)} '
            'shape-rendering="crispEdges"/>',
        ]
        if curve.is_exact or not smoothing:
            parts.append(f'<path d="{values}" {line}{_opacity(behind)}/>')
        if smoothing:
            smoothed = smooth(curve.value, smoothing)
            path = _line(xs, self.up(smoothed), smoothed)
            parts.append(f'<path d="{path}" {line}{_opacity(opacity)}/>')
        marks = self._marks(curve, xs)
        if marks:
            parts.append(f'<path d="{marks}" fill="{color}"{_opacity(opacity)}/>')
        return parts

    def _extremes(self, curve: _Drawn) -> str:
        """From the minimum to the maximum in each pixel column."""
        begin, until = np.floor(self.across(curve.start)), np.floor(self.across(curve.end))
        # Up to the next bucket if that is adjacent.
        is_next_near = curve.start[1:] - curve.end[:-1] < (curve.end - curve.start)[:-1]
        until[:-1] = np.where(is_next_near, begin[1:], until[:-1])
        until = np.maximum(begin + 1, until)
        is_drawn = ~(np.isnan(curve.low) | np.isnan(curve.high))
        begin, until = begin[is_drawn], until[is_drawn]
        high, low = self.up(curve.high[is_drawn]), self.up(curve.low[is_drawn])
        if not len(begin):
            return ""
        starts = np.flatnonzero(np.concatenate(([True], begin[1:] != begin[:-1])))
        top = np.floor(np.minimum.reduceat(high, starts))
        bottom = np.maximum(top + 1, np.ceil(np.maximum.reduceat(low, starts)))
        columns = zip(
            begin[starts].tolist(),
            np.maximum.reduceat(until, starts).tolist(),
            top.tolist(),
            bottom.tolist(),
            strict=True,
        )
        return "".join(
            f"M{x0:.0f} {y0:.0f}H{x1:.0f}V{y1:.0f}H{x0:.0f}z" for x0, x1, y0, y1 in columns
        )

    def _marks(self, curve: _Drawn, xs: Numbers) -> str:
        """Outliers at the edge, NaN on the x axis, few points as dots."""
        above, below = curve.high > self.y.high, curve.low < self.y.low
        missing = np.isnan(curve.low)
        parts = [_triangle(x, self.top, MARK) for x in xs[above].tolist()]
        parts += [_triangle(x, self.bottom, -MARK) for x in xs[below].tolist()]
        parts += [_cross(x, self.bottom - MARK) for x in xs[missing].tolist()]
        if curve.is_exact and len(xs) <= DOTS:
            radius = 4.0 if len(xs) == 1 else 2.5
            ys = self.up(curve.value)
            is_drawn = np.isfinite(curve.value)
            parts += [
                f"M{x - radius:.1f} {y:.1f}a{radius} {radius} 0 1 0 {2 * radius} 0"
                f"a{radius} {radius} 0 1 0 {-2 * radius} 0z"
                for x, y in zip(xs[is_drawn].tolist(), ys[is_drawn].tolist(), strict=True)
            ]
        return "".join(parts)

    def _note(self) -> str:
        if any(np.isfinite(curve.value).any() for curve in self.curves):
            return ""
        text = "NaN" if any(len(curve.value) for curve in self.curves) else "–"
        x, y = (self.left + self.right) / 2, (self.top + self.bottom) / 2
        return (
            f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="middle" '
            f'fill="{self.colors.faint}">{text}</text>'
        )


def _opacity(share: float) -> str:
    """As an attribute; none where it is full, because layers take time."""
    return "" if share == 1 else f' opacity="{share:g}"'


def _line(xs: Numbers, ys: Numbers, values: Numbers) -> str:
    parts, is_drawing = [], False
    for x, y, is_drawn in zip(xs.tolist(), ys.tolist(), np.isfinite(values).tolist(), strict=True):
        if is_drawn:
            parts.append(f"{'L' if is_drawing else 'M'}{x:.1f} {y:.1f}")
        is_drawing = is_drawn
    return "".join(parts)


def _triangle(x: float, y: float, size: float) -> str:
    return f"M{x:.1f} {y:.1f}l{size} {size}h{-2 * size}z"


def _cross(x: float, y: float) -> str:
    half, thin = MARK * 0.8, MARK * 0.25
    return "".join(
        f"M{x - half:.1f} {y - side * half - thin:.1f}l{2 * half} {side * 2 * half}v{2 * thin}"
        f"l{-2 * half} {-side * 2 * half}z"
        for side in (1, -1)
    )


def _text(text: str) -> str:
    """For SVG: XML has no control characters."""
    return escape("".join(c if c.isprintable() else " " for c in text))


def _cut(text: str, most: int) -> str:
    """``text``, cut in the middle if it is longer."""
    if len(text) <= max(8, most):
        return text
    half = max(4, most // 2 - 1)
    return f"{text[:half]}…{text[-half:]}"


def _width(text: str) -> float:
    """Pixels, about: what a font that nobody knows will take."""
    return sum(12.0 if ord(character) > 0x2E7F else 6.2 for character in text)
