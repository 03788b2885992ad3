// The charts of a page that share their data: loads what is in view, when it comes into view.
//
//   const group = new ChartGroup({ source, sync, words, runs, csvUrl, actions });
//   const entry = group.add({ title: "loss", keys: ["train/loss", "eval/loss"] }, grid);
//   group.remove(entry);
//   group.update();      // ask for what is new, of the charts in view
//   group.setRuns(runs); // draw other runs
//
// `runs`: `{run, name, startedMs, until, color, marks}`. `color` ("--series-3"): the color of the
// run's curves; without it, the metrics of a chart have a color each. `until`: the step at which a
// later run took over; what is beyond is superseded.

import { metricOf, positions, STEP, stepsBetween } from "./axes.js";
import { Chart } from "./chart.js";
import { address, COLUMNS, idOf } from "./data.js";

const AHEAD = "200px"; // charts this close to the window are loaded
const AROUND = 0.5; // of the range in view is loaded on either side, for panning
const COARSE = 2.5; // data for a range so many times as wide as the view are loaded anew
const TOO_FINE = 3; // so many more buckets than pixels, and a growing curve is read anew
const WIDER = 1.5; // so many times as wide as it was, a chart gets finer data
const SOON_MS = 30; // while the range is being changed

export class ChartGroup {
  #entries = new Set();
  #byFigure = new WeakMap();
  #whole = new Map(); // id -> curve
  #zoomed = new Map(); // id -> {curve, range, width}
  #loading = null; // of a request that a newer one replaces
  #timer = 0;
  #updating = false;
  #isDrawn = false; // everything that was in view, once
  #observer = new IntersectionObserver((seen) => this.#see(seen), { rootMargin: AHEAD });
  #frame = 0;
  #isSteady = true;
  #following = 0;
  #from = null; // the chart that the mouse is over
  #axis;
  #positions = new WeakMap(); // of whole curves on the axis

  constructor({ source, sync, words, runs, csvUrl, actions = {}, onError = console.warn }) {
    Object.assign(this, { source, sync, words, runs, csvUrl, actions, onError });
    this.#axis = sync.settings.axis;
    sync.addEventListener("view", ({ detail }) => this.#viewed(detail));
    sync.addEventListener("settings", () => this.#set());
    sync.addEventListener("hover", ({ detail }) => this.#hovered(detail));
    sync.addEventListener("highlight", () => this.#redraw({ isSteady: true }));
    document.addEventListener("themechange", () => this.#redraw());
  }

  /** Add a chart of `keys` with `title` at the end of `container`. */
  add({ title, keys }, container) {
    const entry = { keys, visible: false, shown: null, width: 0 };
    const csv = () => address(this.csvUrl, this.#runIds(), keys, this.#steps([entry]), entry.chart.width);
    entry.chart = new Chart({ title, sync: this.sync, words: this.words, actions: { csv, open: (point) => this.#open(point), resized: () => this.#resized(entry) } });
    this.#entries.add(entry);
    this.#byFigure.set(entry.chart.box, entry);
    container.append(entry.chart.figure);
    this.#observer.observe(entry.chart.box);
    return entry;
  }

  remove(entry) {
    this.#observer.unobserve(entry.chart.box);
    this.#entries.delete(entry);
    entry.chart.destroy();
  }

  setRuns(runs) {
    this.runs = runs;
    for (const entry of this.#entries) entry.shown = null;
    this.#load();
  }

  /** Whether nothing that is in view is still to be loaded. */
  get isComplete() {
    return !this.#loading && !this.#timer && this.#wanted().length === 0;
  }

  /** The time of a bucket's extreme is asked for; without it, the step says where it is. */
  async #open(point) {
    if (!this.actions.open) return;
    const { run, key } = point.curve.curve;
    let { ms } = point;
    try {
      ms ??= await this.source.timeOf(run, key, point.step, point.value);
    } catch (error) {
      this.onError(error);
    }
    this.actions.open({ ...point, ms });
  }

  #runIds() {
    return this.runs.map(({ run }) => run);
  }

  #see(seen) {
    for (const { target, isIntersecting } of seen) {
      const entry = this.#byFigure.get(target);
      if (!entry || entry.visible === isIntersecting) continue;
      entry.visible = isIntersecting;
      if (isIntersecting && entry.drawnWith !== undefined) entry.chart.redraw();
    }
    this.#load();
  }

  /** A chart that has become much wider, as in full screen, is worth finer data. */
  #resized(entry) {
    if (!entry.shown || entry.chart.width < entry.width * WIDER) return;
    for (const key of entry.keys) for (const run of this.#runIds()) this.#whole.delete(idOf(run, key));
    entry.shown = null;
    entry.visible = true;
    this.#load();
  }

  #redraw({ isSteady = false } = {}) {
    this.#isSteady &&= isSteady;
    this.#frame ||= requestAnimationFrame(() => {
      const steady = this.#isSteady;
      this.#frame = 0;
      this.#isSteady = true;
      for (const { chart, visible } of this.#entries) if (visible) chart.redraw({ isSteady: steady });
    });
  }

  #hovered({ from }) {
    this.#from = from;
    this.#following ||= requestAnimationFrame(() => {
      this.#following = 0;
      for (const { chart, visible } of this.#entries) if (visible && chart !== this.#from) chart.follow();
    });
  }

  #viewed({ settled }) {
    this.#redraw({ isSteady: !settled });
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (settled && this.sync.view === null) this.#load();
    else this.#timer = setTimeout(() => { this.#timer = 0; this.#load(); }, settled ? 0 : SOON_MS);
  }

  #set() {
    const { axis } = this.sync.settings;
    const isOther = axis !== this.#axis;
    this.#axis = axis;
    for (const entry of this.#entries) {
      if (isOther) entry.shown = null;
      else entry.chart.refresh();
    }
    this.#load();
  }

  // --- what to load --------------------------------------------------------------------------

  get #reference() {
    return metricOf(this.sync.settings.axis);
  }

  /** The steps of what the entries show of the range in view; null for all. */
  #steps(entries, around = 0) {
    const { view, settings: { axis } } = this.sync;
    if (!view) return null;
    const margin = (view.max - view.min) * around;
    const [min, max] = [view.min - margin, view.max + margin];
    if (axis === STEP) return { from: min, to: max };
    const range = { from: Infinity, to: -Infinity };
    for (const { keys } of entries) {
      for (const run of this.runs) {
        for (const key of keys) {
          const curve = this.#whole.get(idOf(run.run, key));
          const steps = curve && stepsBetween(curve, this.#place(curve, run), min, max);
          if (!steps) continue;
          range.from = Math.min(range.from, steps.from);
          range.to = Math.max(range.to, steps.to);
        }
      }
    }
    return range.from <= range.to ? range : { from: 0, to: 0 };
  }

  #place(curve, { run, startedMs }) {
    const { axis } = this.sync.settings;
    let known = this.#positions.get(curve);
    if (known?.axis !== axis) {
      const reference = this.#reference ? this.#whole.get(idOf(run, this.#reference)) : null;
      known = { axis, x: positions(curve, axis, startedMs, reference) };
      this.#positions.set(curve, known);
    }
    return known.x;
  }

  #keysOf(entries) {
    const keys = new Set(entries.flatMap((entry) => entry.keys));
    if (this.#reference) keys.add(this.#reference);
    return [...keys];
  }

  /** The entries in view that do not show what they should. */
  #wanted() {
    const visible = [...this.#entries].filter((entry) => entry.visible);
    if (!this.sync.view) return visible.filter((entry) => entry.shown !== "whole");
    const range = this.#steps(visible);
    return visible.filter((entry) => entry.shown === null || !this.#covers(entry, range));
  }

  #covers({ shown }, { from, to }) {
    if (!shown?.range) return false;
    const { range, exact } = shown;
    if (range.from > from || range.to < to) return false;
    return exact || range.to - range.from <= (to - from) * COARSE * (1 + 2 * AROUND);
  }

  // --- loading -------------------------------------------------------------------------------

  async #load() {
    const wanted = this.#wanted();
    if (!wanted.length) {
      this.#tell();
      return;
    }
    const known = (key) => this.runs.every(({ run }) => this.#whole.has(idOf(run, key)));
    let keys = this.#keysOf(wanted);
    // On other axes than steps, the whole curves tell which steps are in view.
    const first = this.sync.view && this.sync.settings.axis !== STEP && !keys.every(known);
    const view = first ? null : this.sync.view;
    const range = view && this.#steps(wanted, AROUND);
    const width = Math.max(...wanted.map(({ chart }) => chart.width || 400)) * (view ? 1 + 2 * AROUND : 1);
    if (!view) {
      // What was loaded before is shown at once; a change of the axis asks for no data again.
      keys = keys.filter((key) => !known(key));
      if (!keys.length) {
        for (const entry of wanted) this.#show(entry);
        return;
      }
    }
    this.#loading?.abort();
    const loading = (this.#loading = new AbortController());
    try {
      const curves = await this.source.load(this.#runIds(), keys, range, width, loading.signal);
      if (loading !== this.#loading) return;
      for (const key of keys) {
        for (const { run } of this.runs) {
          const id = idOf(run, key);
          if (!view) this.#whole.set(id, curves.get(id) ?? null);
          else this.#zoomed.set(id, { curve: curves.get(id) ?? null, range });
        }
      }
      for (const entry of wanted) {
        entry.width = entry.chart.width;
        this.#show(entry, view ? range : null);
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      this.onError(error);
    } finally {
      if (loading === this.#loading) this.#loading = null;
    }
    // Charts may have come into view, or the range may have changed, in the meantime.
    const isBehind = first || this.#wanted().some((entry) => !wanted.includes(entry));
    if (!this.#loading && isBehind) this.#load();
    this.#tell();
  }

  /** Mark when what is in view has been drawn, for measurements: uPlot draws in a microtask. */
  #tell() {
    requestAnimationFrame(() => queueMicrotask(() => {
      const visible = [...this.#entries].filter((entry) => entry.visible);
      if (!visible.length || !this.isComplete) return;
      if (!this.#isDrawn) performance.mark("charts:drawn");
      this.#isDrawn = true;
      if (this.sync.view && visible.every(({ shown }) => shown.exact)) performance.mark("charts:zoomed");
    }));
  }

  #show(entry, range = null) {
    const of = (id) => (range ? this.#zoomed.get(id)?.curve : this.#whole.get(id)) ?? null;
    const reference = this.#reference;
    const items = [];
    for (const { run, name, startedMs, until, color } of this.runs) {
      for (const [number, key] of entry.keys.entries()) {
        const curve = of(idOf(run, key));
        if (!curve) continue;
        const item = {
          id: curve.id,
          name: color ? name : key,
          group: color ? run : key,
          color: color ?? `--series-${(number % 10) + 1}`,
          curve,
          startedMs,
          reference: reference ? of(idOf(run, reference)) : null,
        };
        items.push(...(until == null ? [item] : parted(item, until)));
      }
    }
    const exact = items.every(({ curve }) => curve.exact);
    entry.shown = range ? { range, exact } : "whole";
    entry.drawnWith = range;
    entry.chart.show(items, this.runs.flatMap(({ marks }) => marks ?? []));
  }

  // --- while a run is at work ----------------------------------------------------------------

  /** Ask for what is new of the charts in view; those out of view ask when they come into view. */
  async update() {
    if (this.#updating) return;
    this.#updating = true;
    try {
      const visible = [...this.#entries].filter((entry) => entry.visible);
      const ids = this.#keysOf(visible).flatMap((key) => this.runs.map(({ run }) => idOf(run, key)));
      const curves = ids.map((id) => this.#whole.get(id)).filter(Boolean);
      const { grown, stale } = await this.source.news(curves, undefined);
      for (const [id, curve] of grown) {
        const width = Math.max(...visible.map(({ chart }) => chart.width));
        if (!curve.exact && curve.step.length > width * TOO_FINE) stale.push(curve);
        else this.#whole.set(id, curve);
      }
      for (const { id } of stale) this.#whole.delete(id);
      for (const id of ids) if (this.#whole.get(id) === null) this.#whole.delete(id);
      this.#outdate(visible, grown, stale);
      this.#load();
    } catch (error) {
      this.onError(error);
    } finally {
      this.#updating = false;
    }
  }

  /** What was out of view is read again when it is seen; what has grown is drawn. */
  #outdate(visible, grown, stale) {
    const changed = new Set([...grown.keys(), ...stale.map(({ id }) => id)]);
    const seen = new Set(this.#keysOf(visible).flatMap((key) => this.runs.map(({ run }) => idOf(run, key))));
    for (const id of [...this.#whole.keys()]) if (!seen.has(id)) this.#whole.delete(id);
    for (const entry of this.#entries) {
      const own = entry.keys.some((key) => this.runs.some(({ run }) => changed.has(idOf(run, key)) || !this.#whole.has(idOf(run, key))));
      if (!entry.visible || own) entry.shown = null;
    }
  }
}

/** `item` up to the step `until`, and what is superseded. */
function parted(item, until) {
  const { curve } = item;
  let row = 0;
  while (row < curve.step.length && curve.firstStep[row] <= until) row += 1;
  const part = (from, to) => ({
    ...curve,
    ...Object.fromEntries(COLUMNS.map((name) => [name, curve[name].subarray(from, to)])),
  });
  const kept = { ...item, curve: part(0, row) };
  // From the last one that is kept on, so that the lines join.
  const rest = { ...item, id: `${item.id}\n~`, curve: part(Math.max(0, row - 1), curve.step.length), superseded: true };
  return row < curve.step.length ? [kept, rest] : [kept];
}
