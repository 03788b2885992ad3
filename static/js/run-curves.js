// The chart above the table of runs: the dot of a run switches its curve of the main metric on and off.
// Which are on is in the address: ?curves=run_a,run_b.

import { CurveSource } from "./charts/data.js";
import { ChartGroup } from "./charts/group.js";
import { Sync } from "./charts/sync.js";
import { carry, keep } from "./compare/address.js";

const MOST = 20;
const COLORS = 10;

const place = document.getElementById("run-curves");
if (place && window.uPlot) start();

function start() {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const shown = new Map(); // run -> what ChartGroup wants of it
  let group = null;

  const switches = () => [...document.querySelectorAll("#run-rows .curve-switch")];
  const show = ({ run, name, color }) => shown.set(run, { run, name, color, startedMs: 0 });

  function draw() {
    place.hidden = shown.size === 0;
    if (group) {
      group.setRuns([...shown.values()]);
    } else if (shown.size) {
      const metric = place.dataset.metric;
      const source = new CurveSource(place.dataset.series);
      group = new ChartGroup({ source, sync: new Sync(), words: read("chart-words"), runs: [...shown.values()], csvUrl: place.dataset.csv });
      group.add({ title: metric, keys: [metric] }, place);
    }
  }

  function mark() {
    for (const button of switches()) {
      const isShown = shown.has(button.dataset.curve);
      button.setAttribute("aria-pressed", String(isShown));
      button.disabled = !isShown && shown.size >= MOST;
    }
  }

  document.addEventListener("click", ({ target }) => {
    const button = target.closest("#run-rows .curve-switch");
    if (!button) return;
    const { curve: run, name, color } = button.dataset;
    if (!shown.delete(run)) show({ run, name, color });
    mark();
    draw();
    keep({ curves: shown.size ? [[...shown.keys()].join(",")] : [] });
  });
  document.addEventListener("live:changed", () => {
    mark();
    if (!shown.size) return;
    carry(["curves"]);
    group.update();
  });

  // As in the table; runs of other pages have the colors from the last one on.
  const colors = new Map(switches().map(({ dataset }) => [dataset.curve, dataset.color]));
  for (const [number, { run, name }] of read("shown-curves").entries()) {
    show({ run, name, color: colors.get(run) ?? `--series-${COLORS - (number % COLORS)}` });
  }
  mark();
  draw();
  if (shown.size) carry(["curves"]);
}
