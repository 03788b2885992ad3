// One chart of any number of curves: axes, crosshair, legend, zoom and pan, full screen, pictures.
//
// It draws what it is given and asks for nothing: see group.js for what loads the data.

import { color } from "../lib/colors.js";
import { inOrder, isTime, lastAtMost, positions, RELATIVE, STEP } from "./axes.js";
import {
  beginExtremes, drawBeyond, drawExtremes, drawLines, drawMarks, endExtremes, frame, inView, MARK_HEIGHT,
} from "./drawing.js";
import { fit } from "./fit.js";
import { clock, duration, short, steps } from "./numbers.js";
import { smooth } from "./smoothing.js";

const FONT = '11px system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif';
const NEAR = 6; // pixels from a tick at which it is named
const CLICK = 4; // the most pixels that the mouse moves in a click
const DOUBLE_CLICK_MS = 250; // a click may be the first of two
const PAN = 0.2; // of the range, for a key
const ZOOM = 1.5; // for a key, or a turn of the wheel
const NEAREST_CURVE = 24; // pixels at which a curve is the one pointed at

const element = (name, className, text) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text != null) made.textContent = text;
  return made;
};

const button = (className, label, text) => {
  const made = element("button", `quiet small ${className}`, text);
  made.type = "button";
  made.title = label;
  made.setAttribute("aria-label", label);
  return made;
};

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
  /** The figure, to be put into the page. */
  figure = element("figure", "chart");
  #plot = null;
  #items = []; // as given
  #curves = []; // prepared
  #marks = [];
  #placed = []; // marks with their x
  #all = false; // outliers too
  #pan = null;
  #beyond = { above: 0, below: 0 };
  #pointed = null; // {curve, row} under the crosshair

  /**
   * `words`: the texts of the page (see templates/runs/_chart_words.html). `actions`:
   * `csv()` returns the address of what is shown, `open(point)` is called for a click on a point
   * `{curve, row, step, ms, value}`.
   */
  constructor({ title, sync, words, actions = {} }) {
    Object.assign(this, { title, sync, words, actions });
    this.#build();
    this.observer = new ResizeObserver(() => this.#resize());
    this.observer.observe(this.box);
  }

  #build() {
    const { figure, words } = this;
    figure.setAttribute("aria-label", `${words.chart} ${this.title}`);
    const head = element("figcaption", "chart-head");
    this.heading = element("span", "chart-title", this.title);
    this.heading.title = this.title;
    this.outliers = element("button", "quiet small chart-outliers");
    this.outliers.type = "button";
    this.outliers.hidden = true;
    this.outliers.addEventListener("click", () => this.showAll(!this.#all));
    const tools = element("span", "chart-tools");
    const full = button("chart-full", words.full, "⤢");
    full.addEventListener("click", () => this.toggleFull());
    const picture = button("chart-picture", words.picture, "PNG");
    picture.addEventListener("click", () => this.save());
    this.csv = element("a", "button quiet small chart-csv", "CSV");
    this.csv.title = words.csv;
    this.csv.setAttribute("aria-label", words.csv);
    this.csv.addEventListener("click", () => { this.csv.href = this.actions.csv?.() ?? ""; });
    this.csv.href = "#";
    this.csv.download = "";
    tools.append(full, picture, this.csv);
    head.append(this.heading, this.outliers, tools);
    this.legend = element("p", "chart-legend");
    this.box = element("div", "chart-plot");
    this.box.tabIndex = 0;
    this.box.setAttribute("role", "group");
    this.box.setAttribute("aria-label", `${words.chart} ${this.title}. ${words.keys}`);
    this.note = element("p", "chart-note");
    this.note.hidden = true;
    this.tip = element("p", "chart-tip");
    this.tip.hidden = true;
    this.box.append(this.note, this.tip);
    figure.append(head, this.legend, this.box);
    this.box.addEventListener("keydown", (event) => this.#key(event));
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
    this.#note();
    this.#legend();
  }

  /** Where a mark is on the axis: of a restart only the time is known, so its step is looked up. */
  #placeOf(mark) {
    const { axis } = this.sync.settings;
    if (isTime(axis)) return mark.ms / 1000;
    const own = this.#curves.find((curve) => curve.curve.run === mark.run && curve.value.length);
    if (axis === RELATIVE) return own ? (mark.ms - own.startedMs) / 1000 : NaN;
    if (mark.step != null && axis === STEP) return mark.step;
    if (!own) return NaN;
    const column = mark.step == null ? own.curve.ms : own.curve.step;
    const row = lastAtMost(column, mark.step ?? mark.ms);
    return row < 0 ? NaN : own.x.end[row];
  }

  /** Says what cannot be seen: no data, one point, only NaN, a constant. */
  #note() {
    const { words } = this;
    const curves = this.#curves.filter((curve) => !curve.superseded);
    let points = 0;
    let min = Infinity;
    let max = -Infinity;
    for (const curve of curves) {
      points += curve.value.length;
      for (let i = 0; i < curve.value.length; i += 1) {
        if (curve.min[i] < min) min = curve.min[i];
        if (curve.max[i] > max) max = curve.max[i];
      }
    }
    let text = "";
    if (!points) text = words.noData;
    else if (min > max) text = words.onlyNaN;
    else if (points === 1) text = words.onePoint;
    else if (min === max) text = `${words.constant} ${short(min)}`;
    this.note.textContent = text;
    this.note.hidden = !text;
  }

  // --- drawing -------------------------------------------------------------------------------

  /** `isSteady`: the y axis stays as it is, as while the range is being dragged. */
  redraw({ isSteady = false } = {}) {
    if (!this.box.clientWidth || !this.figure.isConnected) return;
    if (this.#plot && this.#shape() !== this.shape) this.#discard();
    const isNew = !this.#plot;
    if (isNew) this.#make();
    this.#plot.batch(() => {
      this.#plot.setScale("x", this.#extent());
      if (!isSteady || isNew) this.#plot.setScale("y", this.#range());
    });
    this.#plot.redraw(false, true);
  }

  #shape() {
    const { axis, log } = this.sync.settings;
    return `${isTime(axis)} ${axis === RELATIVE} ${log}`;
  }

  #extent() {
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
    const { min: xMin, max: xMax } = this.#extent();
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
    const { axis, log } = this.sync.settings;
    this.shape = this.#shape();
    const look = {
      stroke: () => color("--faint"),
      grid: { stroke: () => color("--grid"), width: 1 },
      ticks: { show: false },
      font: FONT,
    };
    const values = {
      ...(axis === RELATIVE ? { values: (_, ticks) => ticks.map(duration) } : {}),
      ...(!isTime(axis) && axis !== RELATIVE ? { values: (_, ticks) => ticks.map(shortStep) } : {}),
    };
    this.#plot = new uPlot(
      {
        width: this.box.clientWidth,
        height: this.box.clientHeight,
        legend: { show: false },
        padding: [6, 14, 0, 0],
        scales: {
          x: { time: isTime(axis), auto: false, range: (_, min, max) => [min, max] },
          y: { auto: false, distr: log ? 3 : 1, range: (_, min, max) => [min, max] },
        },
        axes: [
          { ...look, ...values, size: 24, space: axis === RELATIVE ? 80 : 60 },
          { ...look, size: 50, values: (_, ticks) => ticks.map((tick) => (tick == null ? "" : shortTick(tick))) },
        ],
        cursor: {
          y: false,
          points: { show: false },
          drag: { x: true, y: false, setScale: false },
          bind: {
            mousedown: (_, __, handler) => (event) => this.#press(event, handler),
            dblclick: () => () => {
              clearTimeout(this.opening);
              this.sync.setView(null);
            },
          },
        },
        series: [{}, { show: true, paths: () => null, points: { show: false } }],
        hooks: {
          drawAxes: [() => this.#draw()],
          setSelect: [(plot) => this.#select(plot)],
          setCursor: [(plot) => this.#hover(plot)],
        },
      },
      [[0, 1], [null, null]],
      this.box,
    );
    const { over } = this.#plot;
    over.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    over.addEventListener("click", (event) => this.#click(event));
    over.addEventListener("mouseleave", () => {
      this.tip.hidden = true;
      this.#pointed = null;
      this.sync.hover(null, this);
      this.sync.highlight(null);
      this.#legend();
    });
  }

  #draw() {
    const plot = this.#plot;
    const at = frame(plot);
    const context = plot.ctx;
    const { highlighted } = this.sync;
    const several = new Set(this.#curves.map((curve) => curve.group)).size > 1;
    this.#beyond = { above: 0, below: 0 };
    context.save();
    context.beginPath();
    context.rect(at.left, at.top, at.width, at.height);
    context.clip();
    const isIt = (curve) => several && highlighted !== null && curve.group === highlighted;
    const isFaded = several && highlighted !== null && this.#has(highlighted);
    const curves = this.#curves.filter((curve) => curve.value.length);
    const ordered = [...curves.filter((curve) => !isIt(curve)), ...curves.filter(isIt)];
    const look = (curve) => ({ highlighted: isIt(curve), faded: isFaded && !isIt(curve) });
    beginExtremes(at);
    const found = ordered.map((curve) => drawExtremes(at, curve, look(curve)));
    endExtremes(context, at);
    for (const [i, curve] of ordered.entries()) {
      drawLines(context, at, curve, look(curve));
      drawBeyond(context, at, curve, found[i], look(curve));
      if (curve.superseded) continue;
      this.#beyond.above += found[i].above.length + found[i].infinite.length;
      this.#beyond.below += found[i].below.length;
    }
    drawMarks(context, at, this.#placed);
    context.restore();
    this.#outlierButton();
  }

  #has(group) {
    return this.#curves.some((curve) => curve.group === group);
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
    if (this.quiet) return;
    const { left, top } = plot.cursor;
    if (left == null || left < 0) return;
    const x = plot.posToVal(left, "x");
    this.#pointed = this.#nearest(x, top);
    this.sync.highlight(this.#pointed?.near ? this.#pointed.curve.group : null);
    this.sync.hover(x, this);
    this.#legend();
    this.#tip(left, top);
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

  /** The row of each curve at `x`, and the curve nearest to `top`. */
  #nearest(x, top) {
    let found = null;
    for (const curve of this.#curves) {
      const row = rowAt(curve, x);
      if (row < 0) continue;
      const value = (curve.smoothed ?? curve.value)[row];
      const y = Number.isFinite(value) ? this.#plot.valToPos(value, "y") : Infinity;
      const distance = top === null ? 0 : Math.abs(y - top);
      if (!found || distance < found.distance) found = { curve, row, distance };
    }
    return found && { ...found, near: top !== null && found.distance <= NEAREST_CURVE };
  }

  /** The last point of the curve that has come furthest. */
  #newest() {
    const curves = this.#curves.filter(({ value, superseded }) => value.length && !superseded);
    if (!curves.length || this.sync.x !== null) return null;
    const curve = curves.reduce((best, one) => (one.x.end.at(-1) > best.x.end.at(-1) ? one : best));
    return { curve, row: curve.value.length - 1 };
  }

  /** One line: the step, and the value of each curve with the range of its bucket. */
  #legend() {
    const { x } = this.sync;
    const parts = [];
    const at = this.#pointed ?? this.#newest();
    if (at) parts.push(element("span", "chart-at", this.#where(at.curve.curve, original(at.curve.x, at.row))));
    const shown = this.#curves.filter((curve) => curve.value.length && (!curve.superseded || x !== null));
    const chosen = shown.length > 6 && this.#pointed ? [this.#pointed.curve] : shown;
    for (const curve of chosen.slice(0, 6)) {
      const row = x === null ? curve.value.length - 1 : rowAt(curve, x);
      if (row < 0) continue;
      const span = element("span", curve.superseded ? "chart-value superseded" : "chart-value");
      const dot = element("i", "dot");
      dot.style.background = color(curve.color);
      span.append(dot);
      if (shown.length > 1) span.append(`${curve.name} `);
      span.append(element("b", "", short(curve.value[row])));
      if (curve.min[row] < curve.max[row]) {
        span.append(` ${short(curve.min[row])} – ${short(curve.max[row])}`);
      }
      parts.push(span);
    }
    this.legend.replaceChildren(...parts);
  }

  /** The step of a row; of a bucket from where to where it is; the time where that is the axis. */
  #where(curve, row) {
    const { axis } = this.sync.settings;
    const first = curve.firstStep[row];
    const last = curve.step[row];
    const step = first === last ? steps(last) : `${steps(first)} – ${steps(last)}`;
    return `${this.words.step} ${step}${isTime(axis) ? ` · ${clock(curve.ms[row])}` : ""}`;
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
    if (width < CLICK) return;
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

  #zoom(factor, around) {
    const { min, max } = this.#extent();
    const center = around ?? (min + max) / 2;
    this.zoomTo({ min: center - (center - min) / factor, max: center + (max - center) / factor });
  }

  #move(share, options) {
    const { min, max } = this.#extent();
    const by = (max - min) * share;
    this.zoomTo({ min: min + by, max: max + by }, options);
  }

  #wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const around = this.#plot.posToVal(event.offsetX, "x");
    this.#zoom(event.deltaY < 0 ? ZOOM : 1 / ZOOM, around);
  }

  #press(event, drag) {
    this.pressed = { x: event.clientX, y: event.clientY };
    if (!event.shiftKey) return drag(event);
    event.preventDefault();
    if (event.button !== 0) return null;
    const start = this.#extent();
    const perPixel = (start.max - start.min) / this.#plot.over.clientWidth;
    let frameId = 0;
    let at = event.clientX;
    const apply = (settled) => {
      const by = (event.clientX - at) * perPixel;
      this.sync.setView({ min: start.min + by, max: start.max + by }, { settled, from: this });
    };
    const move = (moved) => {
      at = moved.clientX;
      if (!frameId) frameId = requestAnimationFrame(() => { frameId = 0; apply(false); });
    };
    const up = () => {
      cancelAnimationFrame(frameId);
      removeEventListener("mousemove", move);
      removeEventListener("mouseup", up);
      apply(true);
    };
    addEventListener("mousemove", move);
    addEventListener("mouseup", up);
    return null;
  }

  #key(event) {
    if (event.target !== this.box || event.altKey || event.metaKey || event.ctrlKey) return;
    const keys = {
      "+": () => this.#zoom(ZOOM),
      "=": () => this.#zoom(ZOOM),
      "-": () => this.#zoom(1 / ZOOM),
      0: () => this.sync.setView(null),
      ArrowLeft: () => (event.shiftKey ? this.#step(-1) : this.#move(-PAN)),
      ArrowRight: () => (event.shiftKey ? this.#step(1) : this.#move(PAN)),
      Enter: () => this.#openPointed(),
      f: () => this.toggleFull(),
    };
    if (this.sync.view) keys.Escape = keys[0];
    if (!keys[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  }

  /** The crosshair to the next point of the first curve. */
  #step(by) {
    const curve = this.#pointed?.curve ?? this.#curves.find(({ value }) => value.length);
    if (!curve) return;
    const { min, max } = this.#extent();
    const from = this.sync.x === null ? lastAtMost(curve.x.end, (min + max) / 2) : rowAt(curve, this.sync.x) + by;
    const row = Math.min(curve.value.length - 1, Math.max(0, from));
    this.sync.hover(curve.x.end[row], null);
  }

  // --- points --------------------------------------------------------------------------------

  #click(event) {
    const { x, y } = this.pressed ?? {};
    if (Math.hypot(event.clientX - x, event.clientY - y) > CLICK || event.shiftKey) return;
    clearTimeout(this.opening);
    if (event.detail < 2) this.opening = setTimeout(() => this.#openPointed(), DOUBLE_CLICK_MS);
  }

  #openPointed() {
    if (!this.#pointed) return;
    const { curve, row } = this.#pointed;
    const at = original(curve.x, row);
    const { step, ms, value } = curve.curve;
    this.actions.open?.({
      chart: this,
      curve,
      step: step[at],
      ms: ms[at],
      value: value[at],
      left: this.#plot.over.offsetLeft + this.#plot.valToPos(curve.x.end[row], "x"),
    });
  }

  // --- full screen and pictures --------------------------------------------------------------

  toggleFull() {
    if (this.dialog) {
      this.dialog.close();
      return;
    }
    this.dialog = element("dialog", "chart-dialog");
    this.dialog.setAttribute("aria-label", this.title);
    const place = element("div", "chart-place");
    this.figure.replaceWith(place);
    this.dialog.append(this.figure);
    document.body.append(this.dialog);
    this.dialog.addEventListener("close", () => {
      place.replaceWith(this.figure);
      this.dialog.remove();
      this.dialog = null;
      this.box.focus();
    });
    this.dialog.showModal();
    this.box.focus();
  }

  /** Save what is shown as a PNG, with its title and legend. */
  save() {
    if (!this.#plot) return;
    const { canvas } = this.#plot.ctx;
    const ratio = devicePixelRatio || 1;
    const head = 44 * ratio;
    const picture = element("canvas");
    picture.width = canvas.width;
    picture.height = canvas.height + head;
    const context = picture.getContext("2d");
    context.fillStyle = color("--surface");
    context.fillRect(0, 0, picture.width, picture.height);
    context.textBaseline = "middle";
    context.font = `600 ${13 * ratio}px ${FONT.slice(5)}`;
    context.fillStyle = color("--text");
    context.fillText(this.title, 10 * ratio, 14 * ratio);
    context.font = `${11 * ratio}px ${FONT.slice(5)}`;
    let left = 10 * ratio;
    for (const { name, color: property } of this.#curves.filter((curve) => !curve.superseded)) {
      context.fillStyle = color(property);
      context.fillRect(left, 28 * ratio, 8 * ratio, 8 * ratio);
      context.fillStyle = color("--text");
      context.fillText(name, left + 12 * ratio, 32 * ratio);
      left += context.measureText(name).width + 28 * ratio;
      if (left > picture.width) break;
    }
    context.drawImage(canvas, 0, head);
    picture.toBlob((blob) => {
      const link = element("a");
      link.href = URL.createObjectURL(blob);
      link.download = `${this.title.replaceAll(/[^\p{L}\p{N}._-]+/gu, "-")}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    });
  }
}

const shortStep = (value) => (Math.abs(value) >= 1e5 ? compact.format(value) : short(value));
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 3 });
const shortTick = (value) => short(Math.abs(value) < 1e-300 ? 0 : value);

/** The row of the curve at `x`: of a bucket the one that it is in, of points the nearest. -1 beyond
 * the curve's ends. */
function rowAt({ x: { start, end }, exact }, x) {
  const count = end.length;
  if (!count) return -1;
  const before = lastAtMost(start, x);
  const span = count > 1 ? (end[count - 1] - start[0]) / count : Infinity;
  if (before < 0) return start[0] - x <= span ? 0 : -1;
  if (before === count - 1) return x - end[before] <= span ? before : -1;
  return !exact || x - start[before] <= start[before + 1] - x ? before : before + 1;
}

/** The row of the columns as they were sent. */
const original = ({ order }, row) => (order ? order[row] : row);
