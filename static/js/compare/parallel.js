// Parallel coordinates: an axis for each column, a line across them for each run. Axes are moved by
// their labels, and a range of an axis is selected by dragging along it; both with keys as well. The
// order, the scales and the selected ranges are in the address.

import { given, keep, withRuns } from "./address.js";
import { coloring } from "./coloring.js";
import { clipped, plotData, pointIn, svg, Tooltip } from "./drawing.js";
import { hover, onHover } from "./highlight.js";
import { isMissing, scaleOf } from "./scales.js";

const HEIGHT = 420;
const MARGIN = { top: 44, right: 64, bottom: 44, left: 64 };
const MISSING_BELOW = 22; // pixels below an axis where runs without its value are
const MIN_SPACING = 104, LABEL_CHARACTERS = 7; // pixels between axes, and for a character of a label
const REACH = 14; // pixels beside an axis from which a range can be drawn
const CLICK = 4; // pixels that a pointer may move and still only click
const KEY_STEP = 0.05; // of an axis
const BETWEEN = "~"; // in the address: column~low~high

class ParallelCoordinates {
  constructor(figure) {
    this.figure = figure;
    this.words = figure.dataset;
    const { runs, columns } = plotData();
    this.runs = runs;
    this.columns = columns;
    const axes = JSON.parse(document.getElementById("axes").textContent);
    const how = new Map(given("scales").map((text) => [text.slice(text.indexOf(":") + 1), text.split(":", 1)[0]]));
    this.axes = axes.map((id) => ({ id, column: columns.get(id), how: how.get(id) ?? "auto", brush: null }));
    for (const axis of this.axes) axis.scale = scaleOf(axis.column, axis.how);
    for (const text of given("brush")) this.restore(text);
    this.colors = coloring(columns.get(this.words.color), this.words.log);
    if (this.colors.legend) figure.append(this.colors.legend);
    this.canvas = svg("svg", { role: "group", "aria-label": this.words.drawing, height: HEIGHT, "data-own-hover": "" });
    figure.append(this.canvas);
    this.tooltip = new Tooltip(figure, this.words.missing);
    this.lines = new Map();
    this.pointer = null;
    this.canvas.addEventListener("pointerleave", () => hover(null));
    onHover((id) => this.showHovered(id));
    new ResizeObserver(() => this.resize()).observe(figure);
    document.getElementById("clear-brushes").addEventListener("click", () => {
      for (const axis of this.axes) axis.brush = null;
      this.changed();
      this.draw();
    });
    this.resize();
    this.select();
  }

  resize() {
    const width = Math.max(this.figure.clientWidth, MARGIN.left + MARGIN.right + MIN_SPACING * (this.axes.length - 1));
    if (width === this.width) return;
    this.width = width;
    this.draw();
  }

  // --- places -------------------------------------------------------------------------------------

  get spacing() {
    return (this.width - MARGIN.left - MARGIN.right) / Math.max(1, this.axes.length - 1);
  }

  left(axis) {
    if (axis.dragged !== undefined) return axis.dragged;
    if (this.axes.length === 1) return this.width / 2;
    return MARGIN.left + this.axes.indexOf(axis) * this.spacing;
  }

  top(share) {
    return MARGIN.top + (1 - share) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  }

  share(y) {
    return Math.max(0, Math.min(1, 1 - (y - MARGIN.top) / (HEIGHT - MARGIN.top - MARGIN.bottom)));
  }

  point(axis, place) {
    const value = axis.column.values[place];
    const y = isMissing(axis.column, value) ? this.top(0) + MISSING_BELOW : this.top(axis.scale.position(value));
    return [this.left(axis), y];
  }

  // --- drawing ------------------------------------------------------------------------------------

  draw() {
    this.canvas.setAttribute("width", this.width);
    this.lines.clear();
    const lines = this.runs.map((run, place) => {
      const line = svg("path", { class: "line", "data-run": run.id });
      line.style.stroke = this.colors.of(place);
      const reach = svg("path", { class: "reach" });
      const link = svg("a", { href: run.url, "aria-label": run.name }, line, reach);
      link.addEventListener("pointerenter", (event) => this.enter(run, event));
      link.addEventListener("pointermove", (event) => this.enter(run, event));
      link.addEventListener("pointerleave", () => this.pointer || hover(null));
      link.addEventListener("focus", () => hover(run.id));
      link.addEventListener("blur", () => hover(null));
      link.addEventListener("dragstart", (event) => event.preventDefault());
      this.lines.set(run.id, { run, place, link, line, reach });
      return link;
    });
    this.canvas.replaceChildren(svg("g", {}, ...lines), ...this.axes.map((axis) => this.drawAxis(axis)));
    this.place();
    this.select();
  }

  drawAxis(axis) {
    const label = svg("text", { class: "label handle", y: 18, "text-anchor": "middle" }, svg("title", {}, axis.column.label),
      clipped(axis.column.label, Math.max(8, Math.floor(this.spacing / LABEL_CHARACTERS))));
    const every = Math.max(1, Math.ceil(axis.scale.ticks.length / 16));
    const ticks = axis.scale.ticks.filter((_, i) => i % every === 0).map(({ at, text }) =>
      svg("g", {}, svg("line", { x1: -4, x2: 4, y1: this.top(at), y2: this.top(at) }),
        svg("text", { x: -7, y: this.top(at) + 4, "text-anchor": "end" }, svg("title", {}, text), clipped(text, 9))));
    const zone = svg("rect", { class: "zone", x: -REACH, y: MARGIN.top - 6, width: 2 * REACH, height: HEIGHT - MARGIN.top - MARGIN.bottom + 12 });
    const brush = svg("rect", { class: "brush", x: -8, width: 16 });
    axis.brushBox = brush;
    axis.group = svg("g", { class: "axis", tabindex: 0, role: "group", "data-column": axis.id, "aria-label": this.words.axis.replace("{name}", axis.column.label) },
      svg("line", { y1: this.top(0), y2: this.top(1), class: "spine" }), ...ticks, brush, zone, label);
    if (axis.column.values.some((value) => isMissing(axis.column, value))) {
      axis.group.append(svg("text", { class: "missing", y: this.top(0) + MISSING_BELOW + 4, x: -7, "text-anchor": "end" }, this.words.missing));
    }
    if (axis.scale.canBeLog) axis.group.append(this.scaleSwitch(axis));
    zone.addEventListener("pointerdown", (event) => this.brushWith(axis, event));
    label.addEventListener("pointerdown", (event) => this.moveWith(axis, event));
    axis.group.addEventListener("keydown", (event) => this.key(axis, event));
    return axis.group;
  }

  scaleSwitch(axis) {
    const text = svg("text", { class: "scale", y: 34, "text-anchor": "middle", role: "button", tabindex: -1 },
      svg("title", {}, this.words.scale), axis.scale.isLog ? this.words.log : this.words.linear);
    text.addEventListener("click", () => this.switchScale(axis));
    return text;
  }

  /** Put lines, axes and brushes where they belong. */
  place() {
    for (const { place, line, reach } of this.lines.values()) {
      const d = `M${this.inOrder().map((axis) => this.point(axis, place).map((at) => at.toFixed(1)).join(" ")).join("L")}`;
      line.setAttribute("d", d);
      reach.setAttribute("d", d);
    }
    for (const axis of this.axes) {
      axis.group.setAttribute("transform", `translate(${this.left(axis).toFixed(1)} 0)`);
      const [low, high] = axis.brush ?? [0, 0];
      axis.brushBox.setAttribute("y", this.top(high) - (axis.brush ? 3 : 0));
      axis.brushBox.setAttribute("height", axis.brush ? this.top(low) - this.top(high) + 6 : 0);
    }
  }

  inOrder() {
    return [...this.axes].sort((one, other) => this.left(one) - this.left(other));
  }

  enter(run, event) {
    if (this.pointer) return;
    this.at = pointIn(this.figure, event);
    if (this.shown === run.id) this.showTooltip(run.id);
    else hover(run.id);
  }

  showHovered(id) {
    this.shown = id;
    const entry = this.lines.get(id);
    if (!entry) {
      this.at = null;
      this.tooltip.hide();
      return;
    }
    if (!entry.link.contains(document.activeElement)) entry.link.parentNode.append(entry.link); // above the others
    this.showTooltip(id);
  }

  showTooltip(id) {
    const { run, place } = this.lines.get(id);
    const [x, y] = this.at ?? [this.figure.scrollLeft + 8, MARGIN.top];
    this.tooltip.show(run, place, this.axes, x, y);
  }

  // --- selecting ----------------------------------------------------------------------------------

  isSelected(place) {
    return this.axes.every((axis) => {
      if (!axis.brush) return true;
      const value = axis.column.values[place];
      if (isMissing(axis.column, value)) return false;
      const at = axis.scale.position(value);
      return at >= axis.brush[0] - 1e-9 && at <= axis.brush[1] + 1e-9;
    });
  }

  /** Show which runs are within all selected ranges, here and in the table. */
  select() {
    const isBrushed = this.axes.some((axis) => axis.brush);
    const selected = this.runs.filter((_, place) => this.isSelected(place));
    const ids = new Set(selected.map((run) => run.id));
    for (const { id } of this.runs) {
      for (const element of document.querySelectorAll(`[data-run="${CSS.escape(id)}"]`)) {
        element.classList.toggle("out", !ids.has(id));
      }
      this.lines.get(id)?.link.classList.toggle("out", !ids.has(id));
    }
    document.getElementById("clear-brushes").hidden = !isBrushed;
    document.getElementById("brushed").textContent = isBrushed
      ? this.words.brushed.replace("{count}", selected.length).replace("{all}", this.runs.length)
      : "";
    const only = document.getElementById("keep-brushed");
    only.hidden = !isBrushed || !selected.length || selected.length === this.runs.length;
    if (!only.hidden) only.href = withRuns(selected.map((run) => run.id));
  }

  /** ``column~low~high`` of the address. Values, not places, so that it stays true as runs change. */
  restore(text) {
    const [high, low, ...rest] = text.split(BETWEEN).reverse();
    const axis = this.axes.find(({ id }) => id === rest.reverse().join(BETWEEN));
    if (!axis) return;
    const read = (value) => (axis.column.kind === "number" ? Number(value) : value);
    const brush = [axis.scale.position(read(low)), axis.scale.position(read(high))];
    if (brush.every(Number.isFinite)) axis.brush = brush;
  }

  written(axis) {
    const [low, high] = axis.brush;
    if (axis.column.kind === "number") {
      return [axis.id, ...[low, high].map((at) => String(Number(axis.scale.value(at).toPrecision(6))))].join(BETWEEN);
    }
    const within = axis.scale.texts.filter((text) => {
      const at = axis.scale.position(text);
      return at >= low - 1e-9 && at <= high + 1e-9;
    });
    return [axis.id, within[0], within.at(-1)].join(BETWEEN);
  }

  brushWith(axis, event) {
    if (event.button !== 0) return;
    event.preventDefault();
    axis.group.focus();
    const zone = event.target;
    const start = this.share(this.yOf(event));
    this.pointer = event.pointerId;
    zone.setPointerCapture(event.pointerId);
    const move = (moved) => {
      const end = this.share(this.yOf(moved));
      axis.brush = [Math.min(start, end), Math.max(start, end)];
      this.place();
      this.select();
    };
    const finish = (ended) => {
      this.pointer = null;
      zone.removeEventListener("pointermove", move);
      if (ended.type === "pointercancel" || Math.abs(this.yOf(ended) - this.yOf(event)) < CLICK) axis.brush = null;
      this.changed();
    };
    zone.addEventListener("pointermove", move);
    zone.addEventListener("lostpointercapture", finish, { once: true });
  }

  yOf(event) {
    return event.clientY - this.canvas.getBoundingClientRect().top;
  }

  // --- moving axes --------------------------------------------------------------------------------

  moveWith(axis, event) {
    if (event.button !== 0) return;
    event.preventDefault();
    axis.group.focus();
    const handle = event.target.closest("text");
    const from = this.left(axis);
    this.pointer = event.pointerId;
    handle.setPointerCapture(event.pointerId);
    const move = (moved) => {
      axis.dragged = Math.max(0, Math.min(this.width, from + moved.clientX - event.clientX));
      this.place();
    };
    const finish = () => {
      this.pointer = null;
      handle.removeEventListener("pointermove", move);
      this.axes = this.inOrder();
      delete axis.dragged;
      this.place();
      this.changed();
    };
    handle.addEventListener("pointermove", move);
    handle.addEventListener("lostpointercapture", finish, { once: true });
  }

  key(axis, event) {
    const handled = {
      ArrowLeft: () => this.shift(axis, -1),
      ArrowRight: () => this.shift(axis, 1),
      ArrowUp: () => this.brushByKey(axis, KEY_STEP, event.shiftKey),
      ArrowDown: () => this.brushByKey(axis, -KEY_STEP, event.shiftKey),
      Escape: () => { axis.brush = null; },
      l: () => axis.scale.canBeLog && this.switchScale(axis),
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!handled || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    handled();
    this.place();
    this.changed();
  }

  shift(axis, by) {
    const from = this.axes.indexOf(axis), to = from + by;
    if (to < 0 || to >= this.axes.length) return;
    [this.axes[from], this.axes[to]] = [this.axes[to], this.axes[from]];
  }

  /** The first key selects half of the axis; more keys move that range, with Shift its upper end. */
  brushByKey(axis, by, isUpperEnd) {
    if (!axis.brush) {
      axis.brush = by > 0 ? [0.5, 1] : [0, 0.5];
      return;
    }
    const [low, high] = axis.brush;
    if (isUpperEnd) axis.brush = [low, Math.max(low, Math.min(1, high + by))];
    else if (low + by >= -1e-9 && high + by <= 1 + 1e-9) axis.brush = [low + by, high + by];
  }

  switchScale(axis) {
    const values = axis.brush?.map((at) => axis.scale.value(at));
    axis.how = axis.scale.isLog ? "linear" : "log";
    axis.scale = scaleOf(axis.column, axis.how);
    if (values) axis.brush = values.map((value) => axis.scale.position(value));
    this.draw();
    axis.group.focus();
    this.changed();
  }

  changed() {
    this.select();
    keep({
      columns: this.axes.map(({ id }) => id),
      scales: this.axes.filter(({ how }) => how !== "auto").map(({ id, how }) => `${how}:${id}`),
      brush: this.axes.filter(({ brush }) => brush).map((axis) => this.written(axis)),
    });
  }
}

const figure = document.getElementById("parallel");
if (JSON.parse(document.getElementById("axes").textContent).length) new ParallelCoordinates(figure);
