// The settings of all charts of a page, and the address that keeps them.

import { METRIC, RELATIVE, STEP, TIME } from "./axes.js";

const PROGRESS = /token|sample|epoch|flop|step/i; // metrics that a training counts up come first

const rounded = (value) => Number(value.toPrecision(12));

/**
 * Bind the form `bar` (templates/runs/_chart_toolbar.html) to `sync`, and both to the address.
 * Returns `{offer(keys), search(listener)}`: the metrics that may be the x axis; what is searched.
 */
export function bindToolbar(bar, { sync }) {
  const { axis, smoothing, log, superseded, whole, search } = bar.elements;
  const reset = bar.querySelector("[data-reset]");
  const shown = bar.querySelector("output");
  const offered = axis.querySelector("optgroup");
  const query = new URLSearchParams(location.search);
  const listeners = [];

  const fromAddress = () => {
    const wanted = query.get("x") ?? STEP;
    const isKnown = [STEP, TIME, RELATIVE].includes(wanted) || wanted.startsWith(METRIC);
    if (wanted.startsWith(METRIC)) option(wanted);
    axis.value = isKnown ? wanted : STEP;
    smoothing.value = query.get("smooth") ?? "0";
    log.checked = query.get("log") === "1";
    if (superseded) superseded.checked = query.get("superseded") !== "0";
    if (whole) whole.checked = query.get("whole") !== "0";
    search.value = query.get("chart") ?? "";
  };

  const option = (value) => {
    let found = [...axis.options].find((one) => one.value === value);
    if (!found) {
      found = new Option(value.slice(METRIC.length), value);
      offered.append(found);
    }
    return found;
  };

  const settings = () => ({
    axis: axis.value,
    smoothing: Number(smoothing.value),
    log: log.checked,
    superseded: superseded ? superseded.checked : true,
    whole: whole ? whole.checked : true,
  });

  const toAddress = () => {
    const { axis: x, smoothing: smooth, log: isLog, superseded: isShown, whole: isWhole } = sync.settings;
    const now = new URLSearchParams(location.search);
    const set = (name, value, usual) => (value === usual ? now.delete(name) : now.set(name, value));
    set("x", x, STEP);
    set("smooth", String(smooth), "0");
    set("log", isLog ? "1" : "", "");
    set("superseded", isShown ? "" : "0", "");
    if (whole) set("whole", isWhole ? "" : "0", "");
    set("chart", search.value.trim(), "");
    set("range", sync.view ? `${rounded(sync.view.min)}:${rounded(sync.view.max)}` : "", "");
    const text = now.toString();
    const address = `${location.pathname}${text && `?${text}`}${location.hash}`;
    if (address !== location.pathname + location.search + location.hash) history.replaceState(history.state, "", address);
  };

  const showView = () => { reset.disabled = sync.view === null; };
  const showSettings = () => {
    shown.value = Number(smoothing.value).toFixed(2);
    if (superseded && whole) superseded.disabled = !whole.checked; // then there are none
  };

  fromAddress();
  showSettings();
  sync.set(settings());
  const [min, max] = (query.get("range") ?? "").split(":").map(Number);
  if (min < max) sync.setView({ min, max });
  showView();

  bar.addEventListener("input", ({ target }) => {
    if (target === search) {
      for (const listener of listeners) listener(search.value);
    } else {
      showSettings();
      sync.set(settings());
      showView();
    }
    toAddress();
  });
  bar.addEventListener("submit", (event) => event.preventDefault());
  reset.addEventListener("click", () => sync.setView(null));
  sync.addEventListener("view", ({ detail }) => {
    showView();
    if (detail.settled) toAddress();
  });

  return {
    offer(keys) {
      const sorted = [...keys].sort((a, b) => PROGRESS.test(b) - PROGRESS.test(a) || a.localeCompare(b));
      for (const key of sorted) option(METRIC + key);
    },
    search(listener) {
      listeners.push(listener);
      listener(search.value);
    },
  };
}
