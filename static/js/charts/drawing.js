// Draws curves on uPlot's canvas: one pass over typed arrays for each.
//
// A bucket is drawn from its minimum to its maximum in the curve's full color, pixel column by pixel
// column, so that one outlier among a million points is as dark as the rest, and joined to the next
// one; over them the line of the smoothed values. What is beyond the range of the y axis is marked at its edge, and
// NaN on the x axis.

import { color } from "../lib/colors.js";
import { lastAtMost } from "./axes.js";
import * as raster from "./raster.js";

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
 * Draws prepared curves (see chart.js) in the frame `at` of `context`, those of the group
 * `highlighted` in front of the others, which are pale. Returns how many are `{above, below}` the y
 * axis.
 */
export function drawCurves(context, at, curves, highlighted) {
  const present = curves.filter((curve) => curve.value.length);
  const groups = new Set(curves.map((curve) => curve.group));
  const isOne = groups.size > 1 && groups.has(highlighted);
  const isIt = (curve) => isOne && curve.group === highlighted;
  const ordered = [...present.filter((curve) => !isIt(curve)), ...present.filter(isIt)];
  const look = (curve) => ({ highlighted: isIt(curve), faded: isOne && !isIt(curve) });
  raster.begin(Math.round(at.width), Math.round(at.height));
  const found = ordered.map((curve) => drawExtremes(at, curve, look(curve)));
  raster.drawOn(context, Math.round(at.left), Math.round(at.top));
  const beyond = { above: 0, below: 0 };
  for (const [i, curve] of ordered.entries()) {
    drawLines(context, at, curve, look(curve));
    drawBeyond(context, at, curve, found[i], look(curve));
    if (curve.superseded) continue;
    beyond.above += found[i].above.length + found[i].infinite.length;
    beyond.below += found[i].below.length;
  }
  return beyond;
}

/**
 * Draws the extremes of a prepared curve: `{x: {start, end}, min, max, value, smoothed, exact, color,
 * superseded}`. Returns which of its rows are `above` and `below` the y axis, `infinite` or
 * `missing` (NaN), by their x in the picture.
 */
function drawExtremes(at, curve, { faded = false } = {}) {
  const { x: { start, end }, min, max, exact } = curve;
  const [first, last] = inView(curve.x, at.xMin, at.xMax);
  const { width, height, log, perX, perY, yBase, xMin, yMin, yMax } = at;
  const one = Math.ceil(at.ratio);
  const found = { above: [], below: [], infinite: [], missing: [] };
  const opacity = opacityOf(curve, faded) * (curve.smoothed ? BEHIND : 1);
  const rgba = raster.pixel(color(curve.color), opacity);
  // Exact points far apart are joined by lines; pixel columns by themselves.
  const joined = !exact || last - first > width;
  let column = NaN; // the pixel columns of the stroke that is being collected
  let until = 0;
  let high = 0;
  let low = 0;
  let highBefore = NaN; // of the stroke before
  let lowBefore = NaN;

  const flush = () => {
    let top = high;
    let bottom = low;
    if (joined) {
      if (lowBefore < top) top = lowBefore;
      if (highBefore > bottom) bottom = highBefore;
    }
    highBefore = high;
    lowBefore = low;
    if (top > height || bottom < 0) return;
    const y = Math.max(0, Math.floor(top));
    raster.fill(column, y, until, Math.max(y + one, Math.ceil(bottom)), rgba);
  };
  const place = (value) => height - ((log ? Math.log10(value) : value) - yBase) * perY;
  const pixel = (x) => Math.floor((x - xMin) * perX);

  for (let i = first; i <= last; i += 1) {
    const begin = pixel(start[i]);
    // Up to the next bucket if that is adjacent.
    const isNextNear = i < last && start[i + 1] - end[i] < end[i] - start[i];
    const stop = Math.max(begin + one, pixel(isNextNear ? start[i + 1] : end[i]));
    if (stop < 0 || begin > width) continue;
    const lowest = min[i];
    const highest = max[i];
    const middle = (begin + stop) / 2;
    if (Number.isNaN(highest) || Number.isNaN(lowest)) {
      found.missing.push(middle);
      if (!Number.isNaN(column)) flush();
      column = NaN;
      highBefore = lowBefore = NaN;
      continue;
    }
    if (highest > yMax) (highest === Infinity ? found.infinite : found.above).push(middle);
    if (lowest < yMin) found.below.push(middle);
    const yHigh = highest > 0 || !log ? place(highest) : height + 1;
    const yLow = lowest > 0 || !log ? place(lowest) : height + 1;
    if (begin === column) {
      high = Math.min(high, yHigh);
      low = Math.max(low, yLow);
      until = Math.max(until, stop);
    } else {
      if (!Number.isNaN(column)) flush();
      column = begin;
      until = stop;
      high = yHigh;
      low = yLow;
    }
  }
  if (!Number.isNaN(column)) flush();
  return found;
}

/** Draws what drawExtremes has `found`: triangles at the edges, crosses on the x axis. */
function drawBeyond(context, at, curve, found, { faded = false } = {}) {
  const size = MARK * at.ratio;
  context.fillStyle = color(curve.color);
  context.globalAlpha = opacityOf(curve, faded);
  context.beginPath();
  for (const x of found.above) triangle(context, at.left + x, at.top, size);
  for (const x of found.below) triangle(context, at.left + x, at.bottom, -size);
  for (const x of found.infinite) {
    triangle(context, at.left + x, at.top, size);
    triangle(context, at.left + x, at.top + size, size);
  }
  for (const x of found.missing) cross(context, at.left + x, at.bottom - size, size);
  context.fill();
  context.globalAlpha = 1;
}

const opacityOf = ({ superseded }, faded) => (faded ? FADED : 1) * (superseded ? SUPERSEDED : 1);

/** Draws the line of a curve's smoothed values, or of its points where they are far enough apart. */
function drawLines(context, at, curve, { highlighted = false, faded = false } = {}) {
  const [first, last] = inView(curve.x, at.xMin, at.xMax);
  const opacity = opacityOf(curve, faded);
  const isSparse = curve.exact && last - first <= at.width;
  const stroke = color(curve.color);
  context.fillStyle = stroke;
  context.strokeStyle = stroke;
  context.lineJoin = "round";
  context.lineWidth = (highlighted ? HIGHLIGHTED : LINE) * at.ratio;
  context.globalAlpha = curve.smoothed ? opacity * BEHIND : opacity;
  if (isSparse) drawLine(context, at, curve.x.end, curve.value, first, last);
  context.globalAlpha = opacity;
  if (curve.smoothed) drawLine(context, at, curve.x.end, curve.smoothed, first, last);
  if (curve.exact && last - first < DOTS) drawDots(context, at, curve, first, last);
  context.globalAlpha = 1;
}

/** A triangle at the edge, for an outlier. All shapes of a path turn the same way, or they would
 * cancel each other out where they overlap. */
function triangle(context, x, y, size) {
  const tip = size / MARK; // not a point, which would be paler than the rest
  context.moveTo(x - tip, y);
  context.lineTo(x + tip, y);
  context.lineTo(x + size, y + size);
  context.lineTo(x - size, y + size);
  context.closePath();
}

/** For NaN. */
function cross(context, x, y, size) {
  const half = size * 0.8;
  const thin = size * 0.4;
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
