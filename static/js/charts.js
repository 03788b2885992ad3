// The run's curves: asks for them while the run goes on, and draws each into its own chart.
// Charts are made once and then given new data, so that a zoom or a pointer stays where it is.

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
  const SPARSE = 60; // so few values are drawn as points too
  const charts = new Map();

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const seriesColour = (index) => colour(`--series-${(index % 6) + 1}`);
  // NaN and the infinities come as texts: a gap in the curve.
  const numbers = (values) => values.map((value) => (typeof value === "number" ? value : null));
  const short = (value) => {
    if (value == null) return "–";
    const small = value !== 0 && Math.abs(value) < 1e-3;
    return small
      ? value.toExponential(3).replace(/\.?0*e/, "e")
      : Number(value.toPrecision(5)).toString();
  };
  // Under the pointer, its value; without a pointer, the latest.
  const latest = (column) => column.findLast((value) => value != null);

  // A curve is three rows for uPlot: the line, and the extremes of what it stands for when a point
  // is many (a band); exact curves have no band.
  function rows(one) {
    if (one.exact) {
      const none = one.steps.map(() => null);
      return [one.steps, numbers(one.values), none, none];
    }
    return [one.last_steps, numbers(one.last), numbers(one.maximum), numbers(one.minimum)];
  }

  function join(series) {
    // A step logged twice keeps its last value: uPlot wants each x once.
    const tables = series.map((one) => {
      const [steps, ...columns] = rows(one);
      const keep = steps.map((step, i) => step !== steps[i + 1]);
      return [steps, ...columns].map((column) => column.filter((_, i) => keep[i]));
    });
    return uPlot.join(tables);
  }

  function describe(series, index) {
    const stroke = () => seriesColour(index);
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

    const axis = { stroke: () => colour("--faint"), grid: { stroke: () => colour("--grid"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
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
        fill: () => `${seriesColour(i)}2e`,
      })),
    }, join(chart.series), figure);
    // The bounds of bands are no series of their own in the legend.
    for (const [i, row] of [...figure.querySelectorAll(".u-legend .u-series")].entries()) {
      row.classList.toggle("bound", i > 0 && (i - 1) % 3 !== 0);
    }
    const made = { figure, plot, keys: chart.series.map((one) => one.key).join("\n"), zoomed: false };
    plot.over.addEventListener("dblclick", () => { made.zoomed = false; });
    plot.hooks.setSelect = [(u) => { made.zoomed = made.zoomed || u.select.width > 0; }];
    return made;
  }

  function show(chart) {
    if (!chart.series.length) return;
    const keys = chart.series.map((one) => one.key).join("\n");
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
    const wanted = titles.filter((title) => charts.has(title)).map((title) => charts.get(title).figure);
    const present = [...box.querySelectorAll(".chart")];
    if (wanted.some((figure, i) => figure !== present[i])) box.append(...wanted);
  }

  async function update() {
    const response = await fetch(box.dataset.url, { headers: { Accept: "application/json" } });
    if (!response.ok || response.redirected) throw new Error(String(response.status));
    const { over, charts: wanted } = await response.json();
    wanted.forEach(show);
    arrange(wanted.map((chart) => chart.title));
    placeholder.hidden = charts.size > 0;
    return over;
  }

  async function poll() {
    let over = false;
    try {
      over = document.hidden ? false : await update();
    } catch (error) {
      console.warn("TrainHub: the curves could not be read", error); // tried again below
    }
    if (!over) setTimeout(poll, INTERVAL_MS);
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
