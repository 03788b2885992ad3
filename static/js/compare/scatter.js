// A point for each run by two columns, in the color of a third.

import { coloring } from "./coloring.js";
import { clipped, plotData, pointIn, svg, Tooltip } from "./drawing.js";
import { hover, onHover } from "./highlight.js";
import { isMissing, scaleOf } from "./scales.js";

const HEIGHT = 440, MIN_WIDTH = 300;
const MARGIN = { top: 16, right: 24, bottom: 48, left: 76 };
const PADDING = 0.04; // between the outermost points and the edges
const RADIUS = 5;
const CATEGORY_LENGTH = 12;

const figure = document.getElementById("scatter");
const { runs, columns } = plotData();
const x = columns.get(figure.dataset.x), y = columns.get(figure.dataset.y);
const color = columns.get(figure.dataset.color);

if (x && y) {
  const colors = coloring(color, figure.dataset.log);
  const scales = { x: scaleOf(x, figure.dataset.scaleX), y: scaleOf(y, figure.dataset.scaleY) };
  const shown = runs
    .map((run, place) => ({ run, place }))
    .filter(({ place }) => !isMissing(x, x.values[place]) && !isMissing(y, y.values[place]));
  if (colors.legend) figure.append(colors.legend);
  const canvas = svg("svg", { role: "group", "aria-label": figure.dataset.drawing, height: HEIGHT, "data-own-hover": "" });
  figure.append(canvas);
  const tooltip = new Tooltip(figure, figure.dataset.missing);
  const facts = [{ column: x, scale: scales.x }, { column: y, scale: scales.y }];
  if (color && color !== x && color !== y) facts.push({ column: color, scale: scaleOf(color) });
  const points = new Map();

  const offsetOf = (element) => element.getBoundingClientRect().top - figure.getBoundingClientRect().top;
  let drawnWidth = 0;

  const draw = () => {
    const width = Math.max(MIN_WIDTH, figure.clientWidth);
    if (width === drawnWidth) return;
    drawnWidth = width;
    const inner = { width: width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
    const padded = (share) => PADDING + share * (1 - 2 * PADDING);
    const left = (share) => MARGIN.left + padded(share) * inner.width;
    const top = (share) => MARGIN.top + (1 - padded(share)) * inner.height;
    canvas.setAttribute("width", width);
    canvas.replaceChildren(...axes(inner, left, top));
    points.clear();
    for (const { run, place } of shown) {
      const at = [left(scales.x.position(x.values[place])), top(scales.y.position(y.values[place]))];
      const point = svg("circle", { cx: at[0], cy: at[1], r: RADIUS, class: "point", "data-run": run.id });
      point.style.fill = colors.of(place);
      const link = svg("a", { href: run.url, "aria-label": named(run, place) }, point);
      points.set(run.id, { place, run, at, link });
      canvas.append(link);
    }
  };

  const named = (run, place) =>
    `${run.name}, ${facts.map(({ column, scale }) => `${column.label} ${isMissing(column, column.values[place]) ? figure.dataset.missing : scale.text(column.values[place])}`).join(", ")}`;

  const labelOf = (column, scale) => (scale.isLog ? figure.dataset.logLabel.replace("{name}", column.label) : column.label);

  const axes = (inner, left, top) => {
    const base = HEIGHT - MARGIN.bottom;
    const across = Math.max(1, Math.ceil(scales.x.ticks.length / (inner.width / 84)));
    return [
      ...scales.x.ticks.filter((_, i) => i % across === 0).map(({ at, text }) =>
        svg("g", {}, svg("line", { x1: left(at), x2: left(at), y1: MARGIN.top, y2: base, class: "grid" }),
          svg("text", { x: left(at), y: base + 16, "text-anchor": "middle" }, clipped(text, CATEGORY_LENGTH)))),
      ...scales.y.ticks.map(({ at, text }) =>
        svg("g", {}, svg("line", { x1: MARGIN.left, x2: MARGIN.left + inner.width, y1: top(at), y2: top(at), class: "grid" }),
          svg("text", { x: MARGIN.left - 8, y: top(at) + 4, "text-anchor": "end" }, clipped(text, 10)))),
      svg("text", { x: MARGIN.left + inner.width / 2, y: HEIGHT - 8, "text-anchor": "middle", class: "label" }, labelOf(x, scales.x)),
      svg("text", { x: 0, y: 0, transform: `translate(14 ${MARGIN.top + inner.height / 2}) rotate(-90)`, "text-anchor": "middle", class: "label" }, labelOf(y, scales.y)),
    ];
  };

  // The nearest point within reach, so that small points are easy to meet.
  canvas.addEventListener("pointermove", (event) => {
    const [px, py] = pointIn(figure, event);
    const offset = offsetOf(canvas);
    let nearest = null, least = 18 ** 2;
    for (const entry of points.values()) {
      const distance = (entry.at[0] - px) ** 2 + (entry.at[1] + offset - py) ** 2;
      if (distance < least) [nearest, least] = [entry, distance];
    }
    hover(nearest ? nearest.run.id : null);
  });
  canvas.addEventListener("pointerleave", () => hover(null));
  canvas.addEventListener("focusin", (event) => hover(event.target.querySelector("[data-run]")?.dataset.run ?? null));
  canvas.addEventListener("focusout", () => hover(null));
  onHover((id) => {
    const entry = points.get(id);
    if (!entry) return tooltip.hide();
    // Above the others; an element that is moved loses the focus.
    if (!entry.link.contains(document.activeElement)) canvas.append(entry.link);
    tooltip.show(entry.run, entry.place, facts, entry.at[0], entry.at[1] + offsetOf(canvas));
  });

  draw();
  new ResizeObserver(draw).observe(figure);
  if (shown.length < runs.length) {
    const note = document.createElement("p");
    note.className = "small";
    note.textContent = figure.dataset.leftOut.replace("{count}", runs.length - shown.length).replace("{all}", runs.length);
    figure.append(note);
  }
}
