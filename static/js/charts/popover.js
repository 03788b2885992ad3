// What a click on a point opens: what the point is, its place in the log, the nearest checkpoint.

import { clock, short, steps } from "./numbers.js";

let open = null; // {panel, back}: `back` gets the focus again

/** Close the popover, if one is open. */
export function closePopover() {
  if (!open) return;
  const { panel, back } = open;
  open = null;
  const had = panel.contains(document.activeElement);
  panel.remove();
  if (had) back.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !open) return;
  event.stopPropagation();
  event.preventDefault();
  closePopover();
}, { capture: true });
document.addEventListener("pointerdown", (event) => {
  if (open && !open.panel.contains(event.target)) closePopover();
});

const line = (term, value) => {
  const row = document.createElement("div");
  const name = document.createElement("dt");
  const content = document.createElement("dd");
  name.textContent = term;
  content.append(value);
  row.append(name, content);
  return row;
};

const link = (href, text) => {
  const made = document.createElement("a");
  made.href = href;
  made.textContent = text;
  return made;
};

/**
 * `point`: what Chart calls `open` with, with its time if that is known. `logUrl`: of its run's log; empty without one.
 * `checkpoints`: marks of the run that are checkpoints.
 */
export function openPopover({ chart, curve, step, ms, value, left }, { words, logUrl, checkpoints }) {
  closePopover();
  const panel = document.createElement("div");
  panel.className = "chart-popover";
  panel.setAttribute("role", "dialog");
  panel.setAttribute("aria-label", curve.name);
  const facts = document.createElement("dl");
  facts.append(line(words.step, steps(step)));
  if (ms !== null) facts.append(line(words.time, clock(ms)));
  facts.append(line(curve.name, short(value)));
  const nearest = checkpoints.reduce(
    (best, mark) => (!best || Math.abs(mark.step - step) < Math.abs(best.step - step) ? mark : best),
    null,
  );
  if (nearest) facts.append(line(words.checkpoint, link(nearest.url, `${nearest.text} · ${words.step} ${steps(nearest.step)}`)));
  panel.append(facts);
  if (logUrl) {
    const query = new URLSearchParams(ms === null ? { at_step: step } : { at_ms: Math.round(ms) });
    panel.append(link(`${logUrl}?${query}`, words.openLog));
  }
  const close = document.createElement("button");
  close.type = "button";
  close.className = "quiet small icon";
  close.textContent = "×";
  close.setAttribute("aria-label", words.close);
  close.addEventListener("click", closePopover);
  panel.append(close);
  chart.box.append(panel);
  const most = chart.box.clientWidth - panel.offsetWidth;
  panel.style.left = `${Math.max(0, Math.min(left + 8, most))}px`;
  open = { panel, back: chart.box };
  panel.querySelector("a, button").focus({ preventScroll: true });
}
