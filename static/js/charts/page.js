// The charts of a run's page: sections, search, the toolbar, what is new while the run is at work.
// Their place and texts are in templates/runs/_charts.html.

import { CurveSource } from "./data.js";
import { ChartGroup } from "./group.js";
import { openPopover } from "./popover.js";
import { Sync } from "./sync.js";
import { bindToolbar } from "./toolbar.js";

const OPEN_CHARTS = 24; // sections are open until there are so many charts
const HOST = "system/"; // and those of the host are closed

const place = document.getElementById("charts");

function start() {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const words = read("chart-words");
  if (!window.uPlot) {
    document.getElementById("charts-empty").textContent = words.noCharts;
    document.getElementById("charts-empty").hidden = false;
    return;
  }
  const sync = new Sync();
  let list = read("chart-list");
  const open = (point) => {
    const run = point.curve.curve.run;
    const segment = list.segments.find((part) => part.run === run);
    openPopover(point, {
      words,
      logUrl: segment?.log_url ?? "",
      checkpoints: list.marks.filter((mark) => mark.kind === "checkpoint" && mark.run === run),
    });
  };
  const group = new ChartGroup({
    source: new CurveSource(place.dataset.series),
    sync,
    words,
    runs: [],
    csvUrl: place.dataset.csv,
    actions: { open },
  });
  const toolbar = bindToolbar(document.getElementById("chart-toolbar"), { sync });
  const shownRuns = () => runsOf(list).slice(0, sync.settings.whole ? undefined : 1);
  group.runs = shownRuns();
  let { whole } = sync.settings;
  sync.addEventListener("settings", () => {
    if (sync.settings.whole === whole) return;
    ({ whole } = sync.settings);
    group.setRuns(shownRuns());
  });
  const page = new Sections(group, words);
  toolbar.search((text) => page.filter(text));
  page.arrange(list, toolbar);

  let etag = "";
  document.addEventListener("live:changed", async () => {
    try {
      const headers = etag ? { "If-None-Match": etag } : {};
      const response = await fetch(place.dataset.charts, { headers, cache: "no-store" });
      if (response.ok && !response.redirected) {
        etag = response.headers.get("ETag") ?? "";
        list = await response.json();
        group.runs = shownRuns();
        page.arrange(list, toolbar);
      }
      await group.update();
    } catch (error) {
      console.warn("TrainHub: could not load what is new", error); // asked again at the next change
    }
  });
}

/** The run and those it continues, as ChartGroup wants them. */
function runsOf({ segments, marks }) {
  return segments.map(({ run, name, until, started_ms: startedMs }) => ({
    run,
    name,
    until,
    startedMs,
    marks: marks.filter((mark) => mark.run === run),
  }));
}

class Sections {
  #sections = new Map(); // name -> {details, grid, count, charts: Map(title -> entry)}

  constructor(group, words) {
    this.group = group;
    this.words = words;
    this.text = "";
  }

  /** Create the charts of `list` that there are not yet, and drop those that are no more. */
  arrange({ sections }, toolbar) {
    let charts = 0;
    for (const { name, charts: wanted } of sections) {
      const section = this.#section(name, charts < OPEN_CHARTS && name !== HOST, sections.length > 1);
      charts += wanted.length;
      section.count.textContent = wanted.length;
      for (const spec of wanted) {
        const present = section.charts.get(spec.title);
        if (present?.spec.keys.join("\n") === spec.keys.join("\n")) continue;
        if (present) this.group.remove(present.entry);
        section.charts.set(spec.title, { spec, entry: this.group.add(spec, section.grid) });
      }
      const titles = new Set(wanted.map(({ title }) => title));
      for (const [title, { entry }] of section.charts) {
        if (titles.has(title)) continue;
        this.group.remove(entry);
        section.charts.delete(title);
      }
    }
    const names = new Set(sections.map(({ name }) => name));
    for (const [name, { details, charts: gone }] of this.#sections) {
      if (names.has(name)) continue;
      for (const { entry } of gone.values()) this.group.remove(entry);
      details.remove();
      this.#sections.delete(name);
    }
    document.getElementById("charts-empty").hidden = charts > 0;
    toolbar.offer(sections.flatMap((section) => section.charts.flatMap(({ keys }) => keys)));
    this.filter(this.text);
  }

  #section(name, isOpen, several) {
    const present = this.#sections.get(name);
    if (present) return present;
    const details = document.createElement("details");
    details.className = "chart-section";
    details.open = isOpen;
    details.dataset.keep = "";
    const summary = document.createElement("summary");
    const count = document.createElement("span");
    count.className = "small faint";
    summary.append(name || this.words.metrics, " ", count);
    summary.hidden = !several && !name;
    const grid = document.createElement("div");
    grid.className = "chart-grid";
    details.append(summary, grid);
    place.append(details);
    const section = { details, grid, count, charts: new Map() };
    this.#sections.set(name, section);
    return section;
  }

  /** Show the charts of which the title or a metric contains `text`. */
  filter(text) {
    const searched = text.trim().toLowerCase();
    const begins = searched && !this.text;
    const ends = !searched && this.text;
    this.text = searched;
    for (const section of this.#sections.values()) {
      let found = 0;
      for (const [title, { spec, entry }] of section.charts) {
        const matches = [title, ...spec.keys].some((name) => name.toLowerCase().includes(searched));
        entry.chart.figure.hidden = !matches;
        found += matches;
      }
      section.details.hidden = found === 0;
      if (begins) section.wasOpen = section.details.open;
      if (searched && found) section.details.open = true;
      if (ends) section.details.open = section.wasOpen;
    }
  }
}

if (place) start();
