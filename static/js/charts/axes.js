// What the x axis counts: steps, times, times since the start, or another metric of the run.

export const STEP = "step";
export const TIME = "time";
export const RELATIVE = "relative";
export const METRIC = "metric:"; // followed by its key

export const isTime = (axis) => axis === TIME;
export const metricOf = (axis) => (axis.startsWith(METRIC) ? axis.slice(METRIC.length) : "");

/** The index of the last element of the ascending `values` that is at most `x`; -1 if none is. */
export function lastAtMost(values, x) {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] <= x) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** `to[…]` at `x`, between the two nearest of the ascending `from`; beyond its ends NaN. */
export function interpolate(from, to, x) {
  const last = from.length - 1;
  if (last < 0 || !(x >= from[0] && x <= from[last])) return NaN;
  const i = lastAtMost(from, x);
  if (i === last || from[i] === x) return to[i];
  return to[i] + ((to[i + 1] - to[i]) * (x - from[i])) / (from[i + 1] - from[i]);
}

/**
 * Where the points of `curve` are on the axis: `{start, end}`, of each bucket where it begins and
 * ends, ascending. `startedMs`: from when relative times count, in seconds. `reference`: the curve
 * of the metric that is the axis, of the same run.
 */
export function positions(curve, axis, startedMs, reference) {
  if (axis === TIME) return sorted(seconds(curve.firstMs, 0), seconds(curve.ms, 0));
  if (axis === RELATIVE) return sorted(seconds(curve.firstMs, startedMs), seconds(curve.ms, startedMs));
  if (axis !== STEP) {
    const at = (steps) => steps.map((step) => (reference ? interpolate(reference.step, reference.value, step) : NaN));
    return sorted(at(curve.firstStep), at(curve.step));
  }
  return { start: curve.firstStep, end: curve.step, order: null };
}

const seconds = (times, zero) => times.map((ms) => (ms - zero) / 1000); // uPlot's unit

/** Both in order of `end`, with the `order` in which other columns have to be read; null for as is.
 * Times go back where a run was restarted and its clock with it. */
function sorted(start, end) {
  let ascends = true;
  for (let i = 1; i < end.length; i += 1) if (!(end[i] >= end[i - 1])) ascends = false;
  if (ascends) return { start, end, order: null };
  const order = Uint32Array.from(end.keys()).filter((i) => Number.isFinite(end[i]));
  order.sort((a, b) => end[a] - end[b]);
  return { start: pick(start, order), end: pick(end, order), order };
}

const pick = (values, order) => Float64Array.from(order, (i) => values[i]);

/** `values` in the order of positions. */
export const inOrder = (values, order) => (order ? pick(values, order) : values);

/**
 * The steps between which `curve` is from `min` to `max` on the axis, as far as its buckets tell;
 * null if it is not.
 */
export function stepsBetween(curve, { start, end, order }, min, max) {
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < end.length; i += 1) {
    if (end[i] < min || start[i] > max) continue;
    const row = order ? order[i] : i;
    // One more on either side, for what lies between the buckets.
    low = Math.min(low, curve.firstStep[order ? row : Math.max(0, row - 1)]);
    high = Math.max(high, curve.step[order ? row : Math.min(curve.step.length - 1, row + 1)]);
  }
  return low <= high ? { from: low, to: high } : null;
}

/** The row of a prepared curve (see chart.js) at `x`: of a bucket the one that it is in, of points the
 * nearest. -1 beyond the curve's ends. */
export function rowAt({ x: { start, end }, exact }, x) {
  const count = end.length;
  if (!count) return -1;
  const before = lastAtMost(start, x);
  const span = count > 1 ? (end[count - 1] - start[0]) / count : Infinity;
  if (before < 0) return start[0] - x <= span ? 0 : -1;
  if (before === count - 1) return x - end[before] <= span ? before : -1;
  return !exact || x - start[before] <= start[before + 1] - x ? before : before + 1;
}

/**
 * The extreme of the bucket in a row of a prepared curve that is nearest by `distance(value)`; without it,
 * the one further from the last value: `{isMaximum, step, value}`. null where all values are the same,
 * or NaN.
 */
export function extremeAt({ curve, x, min, max, value }, row, distance = null) {
  const [low, high] = [min[row], max[row]];
  if (!(low < high)) return null;
  const isMaximum = distance ? distance(high) <= distance(low) : !(value[row] - low > high - value[row]);
  const at = original(x, row);
  return { isMaximum, step: (isMaximum ? curve.maxStep : curve.minStep)[at], value: isMaximum ? high : low };
}

/** The row of the columns as they were sent. */
export const original = ({ order }, row) => (order ? order[row] : row);
