// What the line above a chart says: where the crosshair is, and the values there.

import { color } from "../lib/colors.js";
import { isTime, original, rowAt } from "./axes.js";
import { element } from "./figure.js";
import { clock, short, steps } from "./numbers.js";

const MOST = 6; // values in the line

/**
 * The parts of the line. `curves`: prepared ones; `x`: the crosshair's, or null, for the last values;
 * `pointed`: `{curve, row, extreme}` or null.
 */
export function legendOf(curves, x, pointed, { axis, words }) {
  const at = pointed ?? (x === null ? newest(curves) : null);
  const parts = at ? [element("span", "chart-at", where(at, axis, words))] : [];
  const entries = entriesAt(curves, x, pointed);
  const isNamed = new Set(curves.map(({ name }) => name)).size > 1;
  const chosen = entries.length > MOST && pointed ? entries.filter(({ curve }) => curve === pointed.curve) : entries;
  for (const entry of chosen.slice(0, MOST)) {
    const value = valueOf(entry, isNamed);
    // In front, as the line is cut off at the end.
    if (pointed?.extreme && entry.curve === pointed.curve) parts.unshift(value, element("span", "chart-extreme", exactly(pointed.extreme, words)));
    else parts.push(value);
  }
  return parts;
}

/** The last point of the curve that has come furthest. */
function newest(curves) {
  const present = curves.filter(({ value, superseded }) => value.length && !superseded);
  if (!present.length) return null;
  const curve = present.reduce((best, one) => (one.x.end.at(-1) > best.x.end.at(-1) ? one : best));
  return { curve, row: curve.value.length - 1 };
}

/** `{curve, row}` once for each run or metric, of whichever of its segments is at `x`, or else ends
 * last, and once more where that replaced another one at `x`. */
function entriesAt(curves, x, pointed) {
  const found = new Map();
  for (const curve of curves) {
    if (!curve.value.length || (curve.superseded && x === null)) continue;
    const row = curve === pointed?.curve ? pointed.row : x === null ? curve.value.length - 1 : rowAt(curve, x);
    if (row < 0) continue;
    const id = `${curve.group}\n${Boolean(curve.superseded)}`;
    const other = found.get(id);
    if (!other || curve.x.end[row] > other.curve.x.end[other.row]) found.set(id, { curve, row });
  }
  return [...found.values()].sort((a, b) => Boolean(a.curve.superseded) - Boolean(b.curve.superseded));
}

function valueOf({ curve, row }, isNamed) {
  const span = element("span", curve.superseded ? "chart-value superseded" : "chart-value");
  const dot = element("i", "dot");
  dot.style.background = color(curve.color);
  span.append(dot);
  if (isNamed && !curve.superseded) span.append(`${curve.name} `);
  span.append(element("b", "", short(curve.value[row])));
  if (curve.min[row] < curve.max[row]) span.append(` ${short(curve.min[row])} – ${short(curve.max[row])}`);
  return span;
}

/** The step of a row; of a bucket from where to where it is; the time where that is the axis. */
function where({ curve: { curve, x }, row }, axis, words) {
  const at = original(x, row);
  const first = curve.firstStep[at];
  const last = curve.step[at];
  const step = first === last ? steps(last) : `${steps(first)} – ${steps(last)}`;
  return `${words.step} ${step}${isTime(axis) ? ` · ${clock(curve.ms[at])}` : ""}`;
}

const exactly = ({ isMaximum, step }, words) => (isMaximum ? words.maximumAt : words.minimumAt).replace("{step}", steps(step));

/** What cannot be seen of `curves`: no data, one point, only NaN, a constant; empty for others. */
export function noteOf(curves, words) {
  let points = 0;
  let min = Infinity;
  let max = -Infinity;
  for (const curve of curves) {
    if (curve.superseded) continue;
    points += curve.value.length;
    for (let i = 0; i < curve.value.length; i += 1) {
      if (curve.min[i] < min) min = curve.min[i];
      if (curve.max[i] > max) max = curve.max[i];
    }
  }
  if (!points) return words.noData;
  if (min > max) return words.onlyNaN;
  if (points === 1) return words.onePoint;
  return min === max ? `${words.constant} ${short(min)}` : "";
}
