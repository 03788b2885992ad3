// uPlot as charts use it: axes, grid, crosshair and selection; the curves are drawn by drawing.js.

import { color } from "../lib/colors.js";
import { isTime, RELATIVE } from "./axes.js";
import { duration, short } from "./numbers.js";
import { FONT } from "./picture.js";

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 3 });
const shortStep = (value) => (Math.abs(value) >= 1e5 ? compact.format(value) : short(value));
const shortTick = (value) => (value == null ? "" : short(Math.abs(value) < 1e-300 ? 0 : value));

/** An instance that fills `box`. `bind`: what the mouse does; `draw`, `select` and `hover` are called
 * with it. */
export function makePlot(box, { axis, log }, { bind, draw, select, hover }) {
  const look = {
    stroke: () => color("--faint"),
    grid: { stroke: () => color("--grid"), width: 1 },
    ticks: { show: false },
    font: FONT,
  };
  const textOf = axis === RELATIVE ? duration : shortStep;
  const values = isTime(axis) ? {} : { values: (_, ticks) => ticks.map(textOf) };
  const range = (_, min, max) => [min, max];
  return new uPlot(
    {
      width: box.clientWidth,
      height: box.clientHeight,
      legend: { show: false },
      padding: [6, 24, 0, 0],
      scales: {
        x: { time: isTime(axis), auto: false, range },
        y: { auto: false, distr: log ? 3 : 1, range },
      },
      axes: [
        { ...look, ...values, size: 24, space: axis === RELATIVE ? 80 : 60 },
        { ...look, size: 50, values: (_, ticks) => ticks.map(shortTick) },
      ],
      cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false }, bind },
      series: [{}, { show: true, paths: () => null, points: { show: false } }],
      hooks: { drawAxes: [draw], setSelect: [select], setCursor: [hover] },
    },
    [[0, 1], [null, null]],
    box,
  );
}
