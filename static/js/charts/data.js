// Curves from the server: many in a request, as wide as the charts are, only what is new while a run
// is at work. See dashboard/charts/series.py for the format.

const LONGEST_QUERY = 6000; // characters: proxies refuse addresses of more than 8 KB
const TIMES = 1000; // parts into which very many points of one step are divided
const MOST_IN_A_REQUEST = 300; // curves: those of all charts in view, at best

/** `items` in parts of which the texts, as written in a query, are not too long together. */
function parts(items, most, textOf) {
  const found = [];
  let length = LONGEST_QUERY;
  for (const item of items) {
    const size = encodeURIComponent(textOf(item)).length + 8;
    if (length + size > LONGEST_QUERY || found.at(-1).length >= most) {
      found.push([]);
      length = 0;
    }
    found.at(-1).push(item);
    length += size;
  }
  return found;
}

export const idOf = (run, key) => `${run}\n${key}`;

/**
 * A curve: columns of numbers (typed arrays, all as long), in which NaN and infinities are values.
 * `exact`: every point of the range; otherwise buckets, each from `firstStep` to `step`, and `step`,
 * `ms` and `value` are those of its last point; `min` is at `minStep`. `total`: points of the whole
 * curve.
 */
function decode(sent) {
  const column = (name, otherwise) => (sent[name] ? Float64Array.from(sent[name]) : otherwise);
  const step = column("step");
  const ms = column("ms");
  const value = column("value");
  const firstStep = column("first_step", step);
  const after = (name) => (sent[name] ? firstStep.map((first, row) => first + sent[name][row]) : step);
  return {
    id: idOf(sent.run, sent.key),
    run: sent.run,
    key: sent.key,
    total: sent.total,
    exact: sent.exact,
    shift: sent.shift,
    continued: sent.continued,
    lastStep: sent.last_step,
    step,
    ms,
    value,
    firstStep,
    firstMs: column("first_ms", ms),
    min: column("min", value),
    max: column("max", value),
    minStep: after("min_after"),
    maxStep: after("max_after"),
    count: column("count", step.map(() => 1)),
  };
}

export const COLUMNS = ["step", "ms", "value", "firstStep", "firstMs", "min", "max", "minStep", "maxStep", "count"];

const sum = (values, from = 0) => {
  let total = 0;
  for (let i = from; i < values.length; i += 1) total += values[i];
  return total;
};

/**
 * `curve` continued by `news`, which begins with its last bucket or point; null if they do not fit
 * together, as after a late point or a restart: then it has to be read anew.
 */
export function extended(curve, news) {
  if (!news.continued || news.exact !== curve.exact || news.shift !== curve.shift) return null;
  const begin = news.firstStep.length ? news.firstStep[0] : Infinity;
  let kept = curve.step.length;
  while (kept > 0 && curve.firstStep[kept - 1] >= begin) kept -= 1;
  if (curve.total - sum(curve.count, kept) + sum(news.count) !== news.total) return null;
  const joined = { ...news, continued: false };
  for (const name of COLUMNS) {
    const column = new Float64Array(kept + news[name].length);
    column.set(curve[name].subarray(0, kept));
    column.set(news[name], kept);
    joined[name] = column;
  }
  return joined;
}

/** The address of what is drawn: `range` is {from, to} in steps, or null for all. */
export function address(url, runs, keys, range, width) {
  const query = new URLSearchParams();
  for (const run of runs) query.append("run", run);
  for (const key of keys) query.append("key", key);
  if (range) {
    query.set("from", Math.floor(range.from));
    query.set("to", Math.ceil(range.to));
  }
  query.set("width", Math.max(1, Math.round(width)));
  return `${url}?${query}`;
}

export class CurveSource {
  #url;
  #etags = new Map(); // of what was asked for last, by which curves that were

  /** `url` answers with curves: dashboard:run-series or dashboard:series. */
  constructor(url) {
    this.#url = url;
  }

  /**
   * A Map of the curves by id (see idOf): each of `keys` of each of `runs`, as far as there are any,
   * between the steps of `range` (null: all), for charts of `width` pixels.
   */
  async load(runs, keys, range, width, signal) {
    const size = Math.max(1, Math.floor(MOST_IN_A_REQUEST / runs.length));
    const answers = await Promise.all(
      parts(keys, size, String).map((part) => this.#ask(address(this.#url, runs, part, range, width), { signal })),
    );
    return new Map(answers.flatMap(({ curves }) => curves.map(decode)).map((curve) => [curve.id, curve]));
  }

  /** When the run reported `value` at `step`, in Unix milliseconds; null if it did not. */
  async timeOf(run, key, step, value) {
    const curve = (await this.load([run], [key], { from: step, to: step }, TIMES)).get(idOf(run, key));
    const row = curve ? curve.max.findIndex((max, i) => max === value || curve.min[i] === value) : -1;
    return row < 0 ? null : curve.firstMs[row];
  }

  /**
   * What is new of `curves`, which are whole: a Map of those that have grown, continued, and a list
   * of those that have to be loaded anew.
   */
  async news(curves, signal) {
    const grown = new Map();
    const stale = [];
    const have = ({ run, key, shift, step }) => `${run}:${shift ?? ""}:${step.length ? step.at(-1) : 0}:${key}`;
    for (const part of parts(curves, MOST_IN_A_REQUEST, have)) {
      const query = new URLSearchParams();
      for (const curve of part) query.append("have", have(curve));
      const which = part.map(({ id }) => id).join("\n\n");
      const etag = this.#etags.get(which);
      const headers = etag ? { "If-None-Match": etag } : {};
      const answer = await this.#ask(`${this.#url}?${query}`, { signal, headers, cache: "no-store" });
      if (!answer) continue;
      if (answer.etag) this.#etags.set(which, answer.etag);
      for (const news of answer.curves.map(decode)) {
        const curve = part.find(({ id }) => id === news.id);
        const joined = extended(curve, news);
        if (!joined) stale.push(curve);
        else if (joined.total !== curve.total) grown.set(curve.id, joined);
      }
    }
    return { grown, stale };
  }

  async #ask(url, options) {
    const response = await fetch(url, { ...options, headers: { Accept: "application/json", ...options.headers } });
    if (response.status === 304) return null;
    if (!response.ok || response.redirected) throw new Error(`${response.status} ${url}`);
    return { ...(await response.json()), etag: response.headers.get("ETag") };
  }
}
