// What the drawings of a comparison share: their data, SVG elements, and the tooltip.

import { isMissing } from "./scales.js";

const SVG = "http://www.w3.org/2000/svg";

/** The runs and columns that the server has put into the page. */
export function plotData() {
  const { runs, columns } = JSON.parse(document.getElementById("plot").textContent);
  return { runs, columns: new Map(columns.map((column) => [column.id, column])) };
}

export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** ``text`` with the middle cut out, so that it has at most ``length`` characters. */
export function clipped(text, length) {
  if (text.length <= length) return text;
  const half = Math.floor((length - 1) / 2);
  return `${text.slice(0, length - 1 - half)}…${text.slice(text.length - half)}`;
}

/** A box beside the pointer with the values of a run. */
export class Tooltip {
  constructor(figure, missing) {
    this.figure = figure;
    this.missing = missing;
    this.box = document.createElement("div");
    this.box.className = "plot-tooltip small";
    this.box.hidden = true;
    figure.append(this.box);
  }

  /** ``x`` and ``y``: in the figure's pixels. */
  show(run, place, columns, x, y) {
    const name = document.createElement("strong");
    name.textContent = run.name;
    const facts = document.createElement("dl");
    for (const { column, scale } of columns) {
      const value = column.values[place];
      const term = document.createElement("dt");
      const text = document.createElement("dd");
      term.textContent = column.label;
      text.textContent = isMissing(column, value) ? this.missing : scale.text(value);
      facts.append(term, text);
    }
    this.box.replaceChildren(name, facts);
    this.box.hidden = false;
    const left = this.figure.scrollLeft;
    const room = left + this.figure.clientWidth - this.box.offsetWidth - 4;
    const beside = x + 14 > room ? x - 14 - this.box.offsetWidth : x + 14;
    this.box.style.left = `${Math.max(left + 4, Math.min(room, beside))}px`;
    this.box.style.top = `${Math.max(4, Math.min(y + 14, this.figure.clientHeight - this.box.offsetHeight - 4))}px`;
  }

  hide() {
    this.box.hidden = true;
  }
}

/** Where an event happened, in the figure's pixels. */
export function pointIn(figure, event) {
  const box = figure.getBoundingClientRect();
  return [event.clientX - box.left + figure.scrollLeft, event.clientY - box.top];
}
