// One chart of any number of curves, on uPlot: what it shows, its scales, its crosshair.
//
// It draws what it is given and asks for nothing: see group.js for what loads the data, gestures.js
// for what a person does on it.

import { extremeAt, inOrder, isTime, lastAtMost, original, positions, RELATIVE, rowAt, STEP } from "./axes.js";
import { drawCurves, drawMarks, frame, inView, MARK_HEIGHT } from "./drawing.js";
import { makeFigure, openFull } from "./figure.js";
import { fit } from "./fit.js";
import { bindKeys, bindOver, mouse } from "./gestures.js";
import { legendOf, noteOf } from "./legend.js";
import { steps } from "./numbers.js";
import { savePicture } from "./picture.js";
import { makePlot } from "./plot.js";
import { smooth } from "./smoothing.js";
import { Strip } from "./strip.js";

const NEAR = 6; // pixels from a tick at which it is named
const LEAST = 4; // pixels that are dragged over to zoom
const REACH = 4; // pixels from a spike at which it is pointed at
const NEAREST_CURVE = 24; // pixels at which a curve is the one pointed at

/**
 * A curve to draw: `{id, name, group, color, curve, startedMs, reference, superseded}`. `color`: a
 * custom property. `group`: what is pointed at with it, such as its run's id. `reference`: see
 * positions() of axes.js. `superseded`: drawn pale, behind the others.
 */
function prepare(item, settings) {
  const { curve } = item;
  const x = positions(curve, settings.axis, item.startedMs, item.reference);
  const value = inOrder(curve.value, x.order);
  return {
    ...item,
    x,
    value,
    exact: curve.exact,
    min: curve.exact ? value : inOrder(curve.min, x.order),
    max: curve.exact ? value : inOrder(curve.max, x.order),
    smoothed: settings.smoothing > 0 && !item.superseded ? smooth(value, settings.smoothing) : null,
  };
}

export class Chart {
  #plot = null;
  #items = []; // as given
  #curves = []; // prepared
  #marks = [];
  #placed = []; // marks with their x
  #all = false; // outliers too
  #beyond = { above: 0, below: 0 };
  #pointed = null; // {curve, row, extreme} under the crosshair: see extremeAt of axes.js
  #strip = new Strip();

  /**
   * `words`: the texts of the page (see dashboard/charts/words.py). `actions`:
   * `csv()` returns the address of what is shown, `open(point)` is called for a click on a point
   * `{chart, curve, step, ms, value, left}`; of the extreme of a bucket `ms` is null.
   */
  constructor({ title, sync, words, actions = {} }) {
    Object.assign(this, { title, sync, words, actions });
    const made = makeFigure(title, words, {
      outliers: () => this.showAll(!this.#all),
      full: () => this.toggleFull(),
      save: () => this.save(),
      csv: () => actions.csv?.() ?? "",
    });
    // `figure`: to be put into the page.
    Object.assign(this, made);
    bindKeys(this, this.box);
    this.observer = new ResizeObserver(() => this.#resize());
    this.observer.observe(this.box);
  }

  // --- what it shows -------------------------------------------------------------------------

  /** Draw these curves (see prepare) and marks `{step, ms, kind, text, run}`. */
  show(items, marks = []) {
    this.#items = items;
    this.#marks = marks;
    this.#prepare();
    this.redraw();
  }

  /** After a change of the settings. */
  refresh() {
    if (!this.#items.length) return;
    this.#prepare();
    this.redraw();
  }

  get curves() {
    return this.#curves;
  }

  get width() {
    return this.box.clientWidth;
  }

  showAll(all) {
    this.#all = all;
    this.redraw();
  }

  #prepare() {
    const { settings } = this.sync;
    this.#curves = this.#items
      .filter((item) => settings.superseded || !item.superseded)
      .map((item) => prepare(item, settings))
      .sort((a, b) => Boolean(b.superseded) - Boolean(a.superseded));
    const place = (mark) => this.#placeOf(mark);
    this.#placed = this.#marks.map((mark) => ({ ...mark, x: place(mark) }));
    this.#strip.forget();
    this.note.textContent = noteOf(this.#curves, this.words);
    this.note.hidden = !this.note.textContent;
    this.#legend();
  }

  /** Where a mark is on the axis: of a restart only the time is known, of an old evaluation only the step,
   * so the other is looked up in a curve of the run. */
  #placeOf(mark) {
    const { axis } = this.sync.settings;
    const isTimed = mark.ms != null;
    if (isTime(axis) && isTimed) return mark.ms / 1000;
    const own = this.#curves.find((curve) => curve.curve.run === mark.run && curve.value.length);
    if (axis === RELATIVE && isTimed) return own ? (mark.ms - own.startedMs) / 1000 : NaN;
    if (mark.step != null && axis === STEP) return mark.step;
    if (!own) return NaN;
    const column = mark.step == null ? own.curve.ms : own.curve.step;
    const row = lastAtMost(column, mark.step ?? mark.ms);
    return row < 0 ? NaN : own.x.end[row];
  }

  // --- drawing -------------------------------------------------------------------------------

  /** `isSteady`: the y axis stays as it is, as while the range is being dragged. */
  redraw({ isSteady = false } = {}) {
    if (!this.box.clientWidth || !this.figure.isConnected) return;
    if (this.#plot && this.#shape() !== this.shape) this.#discard();
    const isNew = !this.#plot;
    if (isNew) this.#make();
    this.#plot.batch(() => {
      this.#plot.setScale("x", this.extent);
      if (!isSteady || isNew) this.#plot.setScale("y", this.#range());
    });
    this.#plot.redraw(false, true);
  }

  #shape() {
    const { axis, log } = this.sync.settings;
    return `${isTime(axis)} ${axis === RELATIVE} ${log}`;
  }

  /** {min, max} of the x axis. */
  get extent() {
    if (this.sync.view) return this.sync.view;
    let min = Infinity;
    let max = -Infinity;
    for (const { x: { start, end } } of this.#curves) {
      if (!end.length) continue;
      min = Math.min(min, start[0]);
      max = Math.max(max, end.at(-1));
    }
    if (!(min <= max)) return { min: 0, max: 1 };
    return min === max ? { min: min - 1, max: max + 1 } : { min, max };
  }

  #range() {
    const { min: xMin, max: xMax } = this.extent;
    const { log } = this.sync.settings;
    const lows = [];
    const highs = [];
    for (const curve of this.#curves) {
      if (!curve.value.length) continue;
      const [first, last] = inView(curve.x, xMin, xMax);
      for (let i = first; i <= last; i += 1) {
        if (curve.x.end[i] < xMin || curve.x.start[i] > xMax) continue;
        const low = curve.min[i];
        const high = curve.max[i];
        if (Number.isFinite(low) && (!log || low > 0)) lows.push(low);
        if (Number.isFinite(high) && (!log || high > 0)) highs.push(high);
      }
    }
    const range = fit(Float64Array.from(lows), Float64Array.from(highs), { all: this.#all, log });
    return range ?? (log ? { min: 0.1, max: 1 } : { min: 0, max: 1 });
  }

  #make() {
    this.shape = this.#shape();
    this.#plot = makePlot(this.box, this.sync.settings, {
      bind: mouse(this),
      draw: () => this.#draw(),
      select: (plot) => this.#select(plot),
      hover: (plot) => this.#hover(plot),
    });
    bindOver(this, this.#plot.over);
  }

  #draw() {
    const at = frame(this.#plot);
    const context = this.#plot.ctx;
    context.save();
    context.beginPath();
    context.rect(at.left, at.top, at.width, at.height);
    context.clip();
    if (this.sync.isMoving) {
      this.#strip.show(context, at, (strip, wide) => drawCurves(strip, wide, this.#curves, this.sync.highlighted));
    } else {
      this.#beyond = drawCurves(context, at, this.#curves, this.sync.highlighted);
      this.#strip.forget();
    }
    drawMarks(context, at, this.#placed);
    context.restore();
    if (!this.sync.isMoving) this.#outlierButton();
  }

  #outlierButton() {
    const { above, below } = this.#beyond;
    const parts = [above && `▲ ${above}`, below && `▼ ${below}`].filter(Boolean);
    this.outliers.hidden = !(parts.length || this.#all);
    this.outliers.textContent = this.#all ? "▲▼" : parts.join(" ");
    const label = this.#all ? this.words.fit : `${parts.join(" ")} ${this.words.outliers}`;
    this.outliers.title = label;
    this.outliers.setAttribute("aria-label", label);
    this.outliers.setAttribute("aria-pressed", String(this.#all));
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.box;
    if (!width || !height) return;
    if (!this.#plot) {
      if (this.#items.length) this.redraw();
    } else if (width !== this.#plot.width || height !== this.#plot.height) {
      this.#plot.setSize({ width, height });
    }
    this.actions.resized?.(this);
  }

  #discard() {
    this.#plot?.destroy();
    this.#plot = null;
  }

  destroy() {
    this.observer.disconnect();
    this.#discard();
    this.figure.remove();
  }

  // --- crosshair and legend ------------------------------------------------------------------

  #hover(plot) {
    if (this.quiet || this.sync.isMoving) return;
    const { left, top } = plot.cursor;
    if (left == null || left < 0) return;
    const x = plot.posToVal(left, "x");
    this.#pointed = this.#nearest(x, top);
    this.sync.highlight(this.#pointed?.near ? this.#pointed.curve.group : null);
    this.sync.hover(x, this);
    this.#legend();
    this.#tip(left, top);
  }

  /** The mouse has left. */
  leave() {
    this.tip.hidden = true;
    this.#pointed = null;
    this.sync.hover(null, this);
    this.sync.highlight(null);
    this.#legend();
  }

  /** The element over the curves. */
  get over() {
    return this.#plot.over;
  }

  /** The x at so many pixels from the left of the curves. */
  xAt(left) {
    return this.#plot.posToVal(left, "x");
  }

  /** Move the crosshair to where it is in the chart that the mouse is over. */
  follow() {
    if (!this.#plot) return;
    const { x } = this.sync;
    this.quiet = true;
    const left = x === null ? -10 : this.#plot.valToPos(x, "x");
    this.#plot.setCursor({ left, top: x === null ? -10 : 0 }, false);
    this.quiet = false;
    this.#pointed = x === null ? null : this.#nearest(x, null);
    this.#legend();
  }

  /** The curve nearest to `top` at `x`, and its row there. */
  #nearest(x, top) {
    let found = null;
    for (const curve of this.#curves) {
      const at = rowAt(curve, x);
      if (at < 0) continue;
      const row = top === null || curve.exact ? at : this.#rowUnder(curve, at, x, top);
      const value = (curve.smoothed ?? curve.value)[row];
      const y = Number.isFinite(value) ? this.#plot.valToPos(value, "y") : Infinity;
      const fromLine = top === null ? 0 : Math.abs(y - top);
      const distance = curve.exact || top === null ? fromLine : Math.min(fromLine, this.#fromStroke(curve, row, top));
      const isNearer = !found || distance < found.distance || (distance === found.distance && fromLine < found.fromLine);
      if (isNearer) found = { curve, row, distance, fromLine };
    }
    if (!found) return null;
    const y = top === null ? null : (value) => Math.abs(this.#heightOf(value) - top);
    return { ...found, extreme: extremeAt(found.curve, found.row, y), near: top !== null && found.distance <= NEAREST_CURVE };
  }

  /** Pixels from the top of the curves, as far as it is drawn: what is beyond the axis is at its edge. */
  #heightOf(value) {
    const bottom = this.#plot.over.clientHeight;
    if (this.sync.settings.log && value <= 0) return bottom;
    return Math.min(bottom, Math.max(0, this.#plot.valToPos(value, "y")));
  }

  /** Pixels from `top` to the stroke of a bucket. */
  #fromStroke({ min, max }, row, top) {
    if (Number.isNaN(min[row])) return Infinity;
    return Math.max(0, this.#heightOf(max[row]) - top, top - this.#heightOf(min[row]));
  }

  /** The row within reach of `x`, from `at` on to both sides, of which the stroke is nearest to `top`: one
   * bucket is hardly a pixel wide. */
  #rowUnder(curve, at, x, top) {
    const { start, end } = curve.x;
    const reach = Math.abs(this.xAt(REACH) - this.xAt(0));
    const isNear = (row) => row >= 0 && row < end.length && start[row] <= x + reach && end[row] >= x - reach;
    let best = at;
    let least = this.#fromStroke(curve, at, top);
    for (const by of [-1, 1]) {
      for (let row = at + by; least > 0 && isNear(row); row += by) {
        const distance = this.#fromStroke(curve, row, top);
        if (distance < least) [best, least] = [row, distance];
      }
    }
    return best;
  }

  #legend() {
    const { x, settings: { axis } } = this.sync;
    this.legend.replaceChildren(...legendOf(this.#curves, x, this.#pointed, { axis, words: this.words }));
  }

  #tip(left, top) {
    const plot = this.#plot;
    const bottom = plot.over.clientHeight;
    const near = this.#placed.filter(({ x, kind }) => {
      const distance = Math.abs(plot.valToPos(x, "x") - left);
      return distance <= NEAR && (kind === "restart" || top > bottom - 2 * MARK_HEIGHT);
    });
    this.tip.hidden = !near.length;
    if (!near.length) return;
    this.tip.textContent = near.slice(0, 4).map(({ text, step }) => (step == null ? text : `${text} · ${this.words.step} ${steps(step)}`)).join("\n");
    const width = this.box.clientWidth;
    const at = plot.over.offsetLeft + left;
    this.tip.style.left = at < width / 2 ? `${at}px` : "auto";
    this.tip.style.right = at < width / 2 ? "auto" : `${width - at}px`;
  }

  // --- zoom and pan --------------------------------------------------------------------------

  #select(plot) {
    const { left, width } = plot.select;
    if (width < LEAST) return;
    const view = { min: plot.posToVal(left, "x"), max: plot.posToVal(left + width, "x") };
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.zoomTo(view);
  }

  /** Show the range {min, max} in all charts of the page. */
  zoomTo({ min, max }, options) {
    const least = this.sync.settings.axis === STEP ? 1 : Number.EPSILON * Math.max(Math.abs(min), Math.abs(max), 1) * 16;
    if (max - min < least) {
      const middle = (min + max) / 2;
      [min, max] = [middle - least / 2, middle + least / 2];
    }
    this.sync.setView({ min, max }, { from: this, ...options });
  }

  /** Show a range narrower by `factor`, which keeps `around` where it is. */
  zoom(factor, around) {
    const { min, max } = this.extent;
    const center = around ?? (min + max) / 2;
    this.zoomTo({ min: center - (center - min) / factor, max: center + (max - center) / factor });
  }

  /** Pan by `share` of the range. */
  move(share, options) {
    const { min, max } = this.extent;
    const by = (max - min) * share;
    this.zoomTo({ min: min + by, max: max + by }, options);
  }

  /** The crosshair to the next point of the first curve. */
  step(by) {
    const curve = this.#pointed?.curve ?? this.#curves.find(({ value }) => value.length);
    if (!curve) return;
    const { min, max } = this.extent;
    const from = this.sync.x === null ? lastAtMost(curve.x.end, (min + max) / 2) : rowAt(curve, this.sync.x) + by;
    const row = Math.min(curve.value.length - 1, Math.max(0, from));
    this.sync.hover(curve.x.end[row], null);
  }

  // --- points --------------------------------------------------------------------------------

  /** Open what there is to know of the point under the crosshair. */
  openPointed() {
    if (!this.#pointed) return;
    const { curve, row, extreme } = this.#pointed;
    const at = original(curve.x, row);
    const { step, ms, value } = curve.curve;
    const point = extreme ? { step: extreme.step, ms: null, value: extreme.value } : { step: step[at], ms: ms[at], value: value[at] };
    this.actions.open?.({
      chart: this,
      curve,
      ...point,
      left: this.#plot.over.offsetLeft + this.#plot.valToPos(curve.x.end[row], "x"),
    });
  }

  // --- full screen and pictures --------------------------------------------------------------

  toggleFull() {
    if (this.dialog) {
      this.dialog.close();
      return;
    }
    this.dialog = openFull(this.figure, this.title, () => {
      this.dialog = null;
      this.box.focus();
    });
    this.box.focus();
  }

  /** Save what is shown as a PNG, with its title and legend. */
  save() {
    if (!this.#plot) return;
    savePicture(this.#plot.ctx.canvas, this.title, this.#curves.filter((curve) => !curve.superseded));
  }
}
