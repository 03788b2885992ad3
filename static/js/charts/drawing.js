// Draws curves on uPlot's canvas: one pass over typed arrays for each.
//
// A bucket is drawn from its minimum to its maximum in the curve's full color, pixel column by pixel
// column, so that one outlier among a million points is as dark as the rest; over it the line of the
// values, or of the smoothed ones. What is beyond the range of the y axis is marked at its edge, and
// NaN on the x axis.

import { color } from "../lib/colors.js";
import { lastAtMost } from "./axes.js";

const LINE = 1.4; // widths in CSS pixels
const HIGHLIGHTED = 2.4;
const MARK = 4;
const DOT = 2.5;
const DOTS = 60; // so few points in view are drawn as dots too
const BEHIND = 0.3; // opacity of the values behind a smoothed line
const SUPERSEDED = 0.3; // and of what a resumed run has replaced
const FADED = 0.15; // and of the others while one curve is pointed at

/** How the canvas maps values, from an instance of uPlot, in canvas pixels. */
export function frame(plot) {
  const { left, top, width, height } = plot.bbox;
  const { x, y } = plot.scales;
  const log = y.distr === 3;
  const place = log ? Math.log10 : (value) => value;
  const ratio = devicePixelRatio || 1;
  return {
    left, top, width, height, log, ratio,
    right: left + width,
    bottom: top + height,
    xMin: x.min,
    xMax: x.max,
    yMin: y.min,
    yMax: y.max,
    perX: width / (x.max - x.min),
    perY: height / (place(y.max) - place(y.min)),
    yBase: place(y.min),
  };
}

/** The rows of `x` ({start, end}) in view, and one more on either side. */
export function inView({ start, end }, xMin, xMax) {
  const first = Math.max(0, lastAtMost(end, xMin));
  let last = Math.min(start.length - 1, lastAtMost(end, xMax) + 1);
  while (last + 1 < start.length && start[last + 1] <= xMax) last += 1;
  return [first, last];
}

/**
 * Draws a prepared curve: `{x: {start, end}, min, max, value, smoothed, exact, color, superseded}`.
 * Returns how many of its rows are `above` and `below` the y axis.
 */
export function drawCurve(context, at, curve, { highlighted = false, faded = false } = {}) {
  const [first, last] = inView(curve.x, at.xMin, at.xMax);
  const opacity = (faded ? FADED : 1) * (curve.superseded ? SUPERSEDED : 1);
  const stroke = color(curve.color);
  context.fillStyle = stroke;
  context.strokeStyle = stroke;
  context.globalAlpha = curve.smoothed ? opacity * BEHIND : opacity;
  const beyond = drawExtremes(context, at, curve, first, last);
  context.lineJoin = "round";
  context.lineWidth = (highlighted ? HIGHLIGHTED : LINE) * at.ratio;
  if (curve.smoothed) {
    if (curve.exact) drawLine(context, at, curve.x.end, curve.value, first, last);
    context.globalAlpha = opacity;
    drawLine(context, at, curve.x.end, curve.smoothed, first, last);
  } else {
    drawLine(context, at, curve.x.end, curve.value, first, last);
  }
  if (curve.exact && last - first < DOTS) drawDots(context, at, curve, first, last);
  context.globalAlpha = 1;
  return beyond;
}

function drawExtremes(context, at, { x: { start, end }, min, max }, first, last) {
  const { left, top, bottom, log, perX, perY, yBase, xMin, yMin, yMax } = at;
  const size = MARK * at.ratio;
  const beyond = { above: 0, below: 0 };
  let column = NaN; // the pixel columns of the stroke that is being collected
  let until = 0;
  let high = 0;
  let low = 0;

  context.beginPath();
  const flush = () => {
    if (high > bottom || low < top) return;
    const y = Math.max(top, Math.floor(high));
    context.rect(column, y, until - column, Math.max(at.ratio, Math.min(bottom, Math.ceil(low)) - y));
  };
  const place = (value) => bottom - ((log ? Math.log10(value) : value) - yBase) * perY;

  for (let i = first; i <= last; i += 1) {
    const begin = Math.floor(left + (start[i] - xMin) * perX);
    const stop = Math.max(begin + Math.ceil(at.ratio), Math.floor(left + (end[i] - xMin) * perX));
    if (stop < left || begin > at.right) continue;
    const lowest = min[i];
    const highest = max[i];
    if (Number.isNaN(highest) || Number.isNaN(lowest)) {
      cross(context, (begin + stop) / 2, bottom - size, size);
      continue;
    }
    if (highest > yMax) {
      beyond.above += 1;
      triangle(context, (begin + stop) / 2, top, size, highest === Infinity);
    }
    if (lowest < yMin) {
      beyond.below += 1;
      triangle(context, (begin + stop) / 2, bottom, -size, lowest === -Infinity);
    }
    const yHigh = highest > 0 || !log ? place(highest) : bottom + 1;
    const yLow = lowest > 0 || !log ? place(lowest) : bottom + 1;
    if (begin === column) {
      high = Math.min(high, yHigh);
      low = Math.max(low, yLow);
      until = Math.max(until, stop);
    } else {
      if (column === column) flush();
      column = begin;
      until = stop;
      high = yHigh;
      low = yLow;
    }
  }
  if (column === column) flush();
  context.fill();
  return beyond;
}

/** A triangle at the edge, for an outlier; of an infinite one two, one upon the other. All shapes of
 * a path turn the same way, or they would cancel each other out where they overlap. */
function triangle(context, x, y, size, infinite) {
  for (const from of infinite ? [y, y + size] : [y]) {
    context.moveTo(x, from);
    context.lineTo(x + size, from + size);
    context.lineTo(x - size, from + size);
    context.closePath();
  }
}

/** For NaN. */
function cross(context, x, y, size) {
  const half = size * 0.8;
  const thin = size * 0.25;
  for (const side of [1, -1]) {
    context.moveTo(x - half, y - side * half - thin);
    context.lineTo(x + half, y + side * half - thin);
    context.lineTo(x + half, y + side * half + thin);
    context.lineTo(x - half, y - side * half + thin);
    context.closePath();
  }
}

function drawLine(context, at, xs, values, first, last) {
  const { left, top, bottom, height, log, perX, perY, yBase, xMin } = at;
  const highest = top - height; // canvases draw nothing where coordinates are too large
  const lowest = bottom + height;
  let drawing = false;
  context.beginPath();
  for (let i = first; i <= last; i += 1) {
    const value = values[i];
    if (!Number.isFinite(value) || (log && value <= 0)) {
      drawing = false;
      continue;
    }
    const x = left + (xs[i] - xMin) * perX;
    const y = bottom - ((log ? Math.log10(value) : value) - yBase) * perY;
    const clamped = y < highest ? highest : y > lowest ? lowest : y;
    if (drawing) context.lineTo(x, clamped);
    else context.moveTo(x, clamped);
    drawing = true;
  }
  context.stroke();
}

function drawDots(context, at, { x: { end }, value }, first, last) {
  const radius = DOT * at.ratio * (first === last ? 1.6 : 1);
  context.beginPath();
  for (let i = first; i <= last; i += 1) {
    if (!Number.isFinite(value[i]) || (at.log && value[i] <= 0)) continue;
    const x = at.left + (end[i] - at.xMin) * at.perX;
    const y = at.bottom - ((at.log ? Math.log10(value[i]) : value[i]) - at.yBase) * at.perY;
    context.moveTo(x + radius, y);
    context.arc(x, y, radius, 0, 2 * Math.PI);
  }
  context.fill();
}

const MARK_COLORS = { checkpoint: "--accent", evaluation: "--warn", restart: "--bad" };
export const MARK_HEIGHT = 7; // CSS pixels

/** Ticks of `marks` ({x, kind}) on the x axis; restarts are lines through the chart. */
export function drawMarks(context, at, marks) {
  const height = MARK_HEIGHT * at.ratio;
  for (const { x: value, kind } of marks) {
    if (!(value >= at.xMin && value <= at.xMax)) continue;
    const x = Math.round(at.left + (value - at.xMin) * at.perX);
    context.fillStyle = color(MARK_COLORS[kind]);
    if (kind === "restart") {
      for (let y = at.top; y < at.bottom; y += 6 * at.ratio) context.fillRect(x, y, at.ratio, 3 * at.ratio);
    } else {
      const half = 0.5 * height;
      context.beginPath();
      context.moveTo(x, at.bottom - height);
      context.lineTo(x + half, at.bottom);
      context.lineTo(x - half, at.bottom);
      context.fill();
    }
  }
}
