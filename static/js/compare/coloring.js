// The color of each run by a column: numbers from blue to yellow, which colour-blind people can tell
// apart, texts by category; without a column, the run's own color.

import { scaleOf, isMissing, short } from "./scales.js";

const SERIES = 10;

/** ``of(place)`` is the color of a run, as CSS; ``legend`` says what the colors mean, or is null. ``log``: the
 * word for a logarithmic scale. */
export function coloring(column, log) {
  if (!column) return { of: series, legend: null };
  const scale = scaleOf(column);
  if (column.kind === "text") {
    const place = new Map(scale.texts.map((text, index) => [text, index]));
    return {
      of: (run) => (isMissing(column, column.values[run]) ? "var(--faint)" : series(place.get(column.values[run]))),
      legend: categories(column, scale),
    };
  }
  return {
    of: (run) => (isMissing(column, column.values[run]) ? "var(--faint)" : mixed(scale.position(column.values[run]))),
    legend: gradient(column, scale, log),
  };
}

const series = (number) => `var(--series-${(number % SERIES) + 1})`;
const mixed = (share) => `color-mix(in oklch, var(--series-6) ${(share * 100).toFixed(1)}%, var(--series-1))`;

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function gradient(column, scale, log) {
  const legend = element("p", "legend small");
  const values = column.values.filter((value) => value !== null);
  const bar = element("span", "gradient");
  bar.style.background = `linear-gradient(in oklch to right, ${mixed(0)}, ${mixed(1)})`;
  legend.append(element("span", "", column.label), element("span", "n", short(Math.min(...values))), bar, element("span", "n", short(Math.max(...values))));
  if (scale.isLog) bar.title = log;
  return legend;
}

function categories(column, scale) {
  const legend = element("p", "legend small");
  legend.append(element("span", "", column.label));
  for (const [place, text] of scale.texts.entries()) {
    const item = element("span", "category");
    const dot = element("span", "dot");
    dot.style.background = series(place);
    item.append(dot, text);
    legend.append(item);
  }
  return legend;
}
