// Draws the run's charts and polls for new data until the run ends.
// Charts are created once and then updated in place, which keeps the zoom and cursor position.

(() => {
  const box = document.getElementById("charts");
  if (!box) return;
  const placeholder = box.querySelector("[data-placeholder]");
  if (!window.uPlot) {
    placeholder.textContent = box.dataset.noCharts;
    placeholder.hidden = false;
    return;
  }

  const INTERVAL_MS = 2000;
  const HEIGHT = 190;
  const SPARSE = 60; // series with at most this many values also show their points
  const charts = new Map();

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const seriesColor = (index) => color(`--series-${(index % 6) + 1}`);
  // NaN and infinities arrive as strings: draw them as gaps.
  const numbers = (values) => values.map((value) => (typeof value === "number" ? value : null));
  const short = (value) => {
    if (value == null) return "–";
    const small = value !== 0 && Math.abs(value) < 1e-3;
    return small
      ? value.toExponential(3).replace(/\.?0*e/, "e")
      : Number(value.toPrecision(5)).toString();
  };
  // The legend shows the value under the cursor, or the latest one if there is no cursor.
  const latest = (column) => column.findLast((value) => value != null);

  // uPlot draws a curve from three rows: the line, and a band from the minimum to the maximum of
  // each bucket. Exact curves have no band.
  function rows(curve) {
    if (curve.exact) {
      const none = curve.steps.map(() => null);
      return [curve.steps, numbers(curve.values), none, none];
    }
    return [curve.last_steps, numbers(curve.last), numbers(curve.maximum), numbers(curve.minimum)];
  }

  function join(series) {
    // If a step was logged twice, keep its last value: uPlot needs unique x values.
    const tables = series.map((curve) => {
      const [steps, ...columns] = rows(curve);
      const keep = steps.map((step, i) => step !== steps[i + 1]);
      return [steps, ...columns].map((column) => column.filter((_, i) => keep[i]));
    });
    return uPlot.join(tables);
  }

  function describe(series, index) {
    const stroke = () => seriesColor(index);
    const bound = { stroke: "transparent", width: 0, points: { show: false }, label: "" };
    return [
      {
        label: series.key,
        stroke,
        width: 1.5,
        value: (u, value, i, at) => short(at == null ? latest(u.data[i]) : value),
        points: {
          size: 5,
          show: (u, i) => u.data[i].reduce((n, value) => n + (value != null), 0) <= SPARSE,
        },
      },
      bound,
      { ...bound },
    ];
  }

  function make(chart) {
    const figure = document.createElement("figure");
    figure.className = "chart";
    const caption = document.createElement("figcaption");
    caption.textContent = chart.title;
    figure.append(caption);
    figure.setAttribute("aria-label", `${box.dataset.chartOf} ${chart.title}`);
    box.append(figure);

    const axis = { stroke: () => color("--faint"), grid: { stroke: () => color("--grid"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const plot = new uPlot({
      width: figure.clientWidth - 26,
      height: HEIGHT,
      scales: { x: { time: false } },
      axes: [{ ...axis, size: 28 }, { ...axis, size: 52, values: (_, ticks) => ticks.map(short) }],
      cursor: { drag: { x: true, y: false } },
      series: [
        {
          label: box.dataset.step,
          value: (u, value, _, at) => String(at == null ? latest(u.data[0]) ?? "–" : value),
        },
        ...chart.series.flatMap(describe),
      ],
      bands: chart.series.map((_, i) => ({
        series: [3 * i + 2, 3 * i + 3],
        fill: () => `${seriesColor(i)}2e`,
      })),
    }, join(chart.series), figure);
    // Hide the bounds of bands from the legend.
    for (const [i, row] of [...figure.querySelectorAll(".u-legend .u-series")].entries()) {
      row.classList.toggle("bound", i > 0 && (i - 1) % 3 !== 0);
    }
    const made = { figure, plot, keys: chart.series.map((curve) => curve.key).join("\n"), zoomed: false };
    plot.over.addEventListener("dblclick", () => { made.zoomed = false; });
    plot.hooks.setSelect = [(u) => { made.zoomed = made.zoomed || u.select.width > 0; }];
    return made;
  }

  function show(chart) {
    if (!chart.series.length) return;
    const keys = chart.series.map((curve) => curve.key).join("\n");
    let made = charts.get(chart.title);
    if (made && made.keys !== keys) {
      made.plot.destroy();
      made.figure.remove();
      made = undefined;
    }
    if (!made) {
      charts.set(chart.title, make(chart));
      return;
    }
    made.plot.setData(join(chart.series), !made.zoomed);
    if (made.zoomed) made.plot.redraw();
  }

  function arrange(titles) {
    for (const [title, made] of charts) {
      if (titles.includes(title)) continue;
      made.plot.destroy();
      made.figure.remove();
      charts.delete(title);
    }
    const ordered = titles.filter((title) => charts.has(title)).map((title) => charts.get(title).figure);
    const present = [...box.querySelectorAll(".chart")];
    if (ordered.some((figure, i) => figure !== present[i])) box.append(...ordered);
  }

  async function update() {
    const response = await fetch(box.dataset.url, { headers: { Accept: "application/json" } });
    if (!response.ok || response.redirected) throw new Error(String(response.status));
    const { finished, charts: loaded } = await response.json();
    loaded.forEach(show);
    arrange(loaded.map((chart) => chart.title));
    placeholder.hidden = charts.size > 0;
    return finished;
  }

  async function poll() {
    let finished = false;
    try {
      finished = document.hidden ? false : await update();
    } catch (error) {
      console.warn("TrainHub: could not load the charts", error); // retried below
    }
    if (!finished) setTimeout(poll, INTERVAL_MS);
  }

  new ResizeObserver(() => {
    for (const { figure, plot } of charts.values()) {
      const width = figure.clientWidth - 26;
      if (width > 0 && width !== plot.width) plot.setSize({ width, height: HEIGHT });
    }
  }).observe(box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const { plot } of charts.values()) plot.redraw(false, true);
  });
  poll();
})();
