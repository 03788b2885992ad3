// A chart for each metric with the curves of all runs, each in its run's color. Static data are in the
// page; the curves come from the server as charts come into view.

import { CurveSource } from "../charts/data.js";
import { ChartGroup } from "../charts/group.js";
import { openPopover } from "../charts/popover.js";
import { Sync } from "../charts/sync.js";
import { bindToolbar } from "../charts/toolbar.js";
import { carry } from "./address.js";
import { hover, onHover } from "./highlight.js";

const INTERVAL_MS = 4000; // while a run is at work and the page is seen
const COLORS = 10;
const OF_CHARTS = ["x", "smooth", "log", "chart", "range"]; // parameters that the toolbar writes

const place = document.getElementById("curves");
if (place) start();

function start() {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const words = read("chart-words");
  const problem = document.getElementById("curves-problem");
  const show = (text) => {
    problem.textContent = text;
    problem.hidden = !text;
  };
  if (!window.uPlot) {
    show(words.noCharts);
    return;
  }
  const { runs, keys } = read("curve-list");
  const logs = new Map(runs.map((run) => [run.id, run.log_url]));
  const sync = new Sync();
  const group = new ChartGroup({
    source: new CurveSource(place.dataset.series),
    sync,
    words,
    runs: runs.map((run, number) => ({
      run: run.id,
      name: run.name,
      startedMs: run.started_ms,
      color: `--series-${(number % COLORS) + 1}`,
    })),
    csvUrl: place.dataset.csv,
    actions: { open: (point) => openPopover(point, { words, logUrl: logs.get(point.curve.curve.run), checkpoints: [] }) },
    onError: (error) => console.warn("TrainHub: could not load the curves", error),
  });
  const entries = keys.map((key) => group.add({ title: key, keys: [key] }, place));

  const toolbar = bindToolbar(document.getElementById("chart-toolbar"), { sync });
  toolbar.offer(keys);
  toolbar.search((text) => {
    const wanted = text.trim().toLowerCase();
    for (const { chart } of entries) chart.figure.hidden = !chart.title.toLowerCase().includes(wanted);
  });
  for (const type of ["settings", "view"]) {
    sync.addEventListener(type, () => queueMicrotask(() => carry(OF_CHARTS)));
  }
  carry(OF_CHARTS);
  document.addEventListener("live:changed", () => carry(OF_CHARTS)); // links are new

  // The run pointed at in a chart is highlighted in the whole page, and the other way round.
  sync.addEventListener("highlight", () => hover(sync.highlighted));
  onHover((id) => sync.highlight(id));

  const working = runs.some((run) => !run.finished);
  if (working) {
    setInterval(() => {
      if (!document.hidden) group.update();
    }, INTERVAL_MS);
  }
}
