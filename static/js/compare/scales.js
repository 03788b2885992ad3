// Scales of one column: from its values to 0 … 1 and back, with ticks. Texts are categories.

const DIGITS = 4;
const MOST_OWN = 8; // values that are ticks themselves
const LEAST_GAP = 0.05; // of the axis, between two of them

/** A number as people read it: four significant digits, a short exponent. */
export function short(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e7) return value.toExponential(DIGITS - 1).replace(/\.?0*e\+?/, "e");
  return String(Number(value.toPrecision(size >= 1000 ? 7 : DIGITS)));
}

export const isMissing = (column, value) => value === null || (column.kind === "text" && value === "");

/** ``how``: "log", "linear", or "auto" for what suits the values. */
export function scaleOf(column, how = "auto") {
  if (column.kind === "text") return categories(column);
  const values = column.values.filter((value) => value !== null);
  const low = Math.min(...values), high = Math.max(...values);
  const canBeLog = low > 0;
  const isLog = canBeLog && (how === "log" || (how === "auto" && column.log));
  return values.length ? numbers(values, low, high, isLog, canBeLog) : numbers([], 0, 1, false, false);
}

function numbers(values, low, high, isLog, canBeLog) {
  const to = isLog ? Math.log10 : (value) => value;
  const from = isLog ? (value) => 10 ** value : (value) => value;
  let start = to(low), end = to(high);
  if (start === end) {
    const margin = isLog ? 0.5 : Math.abs(start) / 2 || 1;
    start -= margin;
    end += margin;
  }
  return {
    isLog,
    canBeLog,
    position: (value) => (to(value) - start) / (end - start),
    value: (position) => from(start + position * (end - start)),
    text: short,
    ticks: (own(values.map(to), end - start) ?? (isLog ? decades : steps)(start, end)).map((at) => ({
      at: (at - start) / (end - start),
      text: short(from(at)),
    })),
  };
}

/** The values themselves if they are few and apart, as those of a sweep; otherwise null. */
function own(values, span) {
  const distinct = [...new Set(values)].sort((one, other) => one - other);
  const isClose = distinct.some((value, i) => i > 0 && value - distinct[i - 1] < span * LEAST_GAP);
  return distinct.length > MOST_OWN || isClose ? null : distinct;
}

function steps(start, end, wanted = 5) {
  const rough = (end - start) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const first = Math.ceil(start / step - 1e-9);
  const count = Math.floor(end / step + 1e-9) - first + 1;
  return Array.from({ length: Math.max(0, count) }, (_, i) => (first + i) * step);
}

function decades(start, end) {
  const whole = Array.from({ length: Math.max(0, Math.floor(end) - Math.ceil(start) + 1) }, (_, i) => Math.ceil(start) + i);
  const every = Math.ceil(whole.length / 7);
  const shown = whole.filter((_, i) => i % every === 0);
  return shown.length >= 2 ? shown : [start, ...shown, end];
}

function categories(column) {
  const texts = [...new Set(column.values.filter((value) => value !== ""))].sort((one, other) =>
    one.localeCompare(other, undefined, { numeric: true }),
  );
  const places = new Map(texts.map((text, place) => [text, place]));
  const span = Math.max(1, texts.length - 1);
  const at = (place) => (texts.length === 1 ? 0.5 : place / span);
  return {
    isLog: false,
    canBeLog: false,
    texts,
    position: (text) => at(places.get(text)),
    value: (position) => Math.round(position * span),
    text: (text) => text,
    ticks: texts.map((text, place) => ({ at: at(place), text })),
  };
}
