// What a person does on a chart: with a mouse, with fingers, with keys.

const CLICK = 4; // the most pixels that the mouse moves in a click
const DOUBLE_CLICK_MS = 250; // a click may be the first of two
const PAN = 0.2; // of the range, for a key
const ZOOM = 1.5; // for a key, or a turn of the wheel

/** What uPlot is told of the mouse: `cursor.bind`. Dragging selects a range, with Shift it pans. */
export function mouse(chart) {
  return {
    mousedown: (_, __, select) => (event) => {
      chart.pressed = { x: event.clientX, y: event.clientY };
      if (!event.shiftKey) return select(event);
      if (event.button === 0) pan(chart, event.clientX);
      return null;
    },
    dblclick: () => () => {
      clearTimeout(chart.opening);
      chart.sync.setView(null);
    },
  };
}

function pan(chart, from) {
  const move = mover(chart, chart.extent);
  const moved = ({ clientX }) => move(from, clientX, 1);
  const released = ({ clientX }) => {
    removeEventListener("mousemove", moved);
    removeEventListener("mouseup", released);
    move(from, clientX, 1, true);
  };
  addEventListener("mousemove", moved);
  addEventListener("mouseup", released);
}

/** Returns `move(from, to, factor, settled)`: what was at the pixel `from` of the range `start` is
 * at `to`, and the range narrower by `factor`; at most once a frame until it is settled. */
function mover(chart, start) {
  const { left, width } = chart.over.getBoundingClientRect();
  let frame = 0;
  let view = start;
  const apply = (settled) => chart.sync.setView(view, { settled, from: chart });
  return (from, to, factor, settled = false) => {
    const span = start.max - start.min;
    const held = start.min + ((from - left) / width) * span;
    const min = held - (((to - left) / width) * span) / factor;
    view = { min, max: min + span / factor };
    if (settled) {
      cancelAnimationFrame(frame);
      apply(true);
    } else {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        apply(false);
      });
    }
  };
}

/** Everything else that happens over the curves. */
export function bindOver(chart, over) {
  over.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    chart.zoom(event.deltaY < 0 ? ZOOM : 1 / ZOOM, chart.xAt(event.offsetX));
  }, { passive: false });
  over.addEventListener("click", (event) => {
    const { x, y } = chart.pressed ?? {};
    if (Math.hypot(event.clientX - x, event.clientY - y) > CLICK || event.shiftKey) return;
    clearTimeout(chart.opening);
    if (event.detail < 2) chart.opening = setTimeout(() => chart.openPointed(), DOUBLE_CLICK_MS);
  });
  over.addEventListener("mouseleave", () => chart.leave());
  bindFingers(chart, over);
}

/** A finger moves the crosshair, or pans what has been zoomed; two zoom. The page scrolls upwards and
 * downwards as usual: touch-action in css/charts.css. */
function bindFingers(chart, over) {
  const fingers = new Map(); // pointer id -> clientX
  let move = null;
  let from = null; // {middle, span} of the fingers

  const now = () => {
    const all = [...fingers.values()];
    return { middle: all.reduce((sum, x) => sum + x, 0) / all.length, span: Math.max(...all) - Math.min(...all) };
  };
  const begin = () => {
    move = fingers.size ? mover(chart, chart.extent) : null;
    from = fingers.size ? now() : null;
  };
  const act = (settled) => {
    const { middle, span } = now();
    if (fingers.size > 1) move(from.middle, middle, Math.max(span, 1) / Math.max(from.span, 1), settled);
    else if (chart.sync.view) move(from.middle, middle, 1, settled);
    else chart.sync.hover(chart.xAt(middle - over.getBoundingClientRect().left), null);
  };
  const isMoved = () => Math.abs(now().middle - from.middle) > CLICK || Math.abs(now().span - from.span) > CLICK;

  over.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "touch") return;
    over.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event.clientX);
    begin();
  });
  over.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    fingers.set(event.pointerId, event.clientX);
    if (isMoved()) act(false);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    over.addEventListener(end, (event) => {
      if (!fingers.has(event.pointerId)) return;
      if (isMoved()) act(true);
      fingers.delete(event.pointerId);
      begin();
    });
  }
}

/** The keys of a chart that has the focus. */
export function bindKeys(chart, box) {
  box.addEventListener("keydown", (event) => {
    if (event.target !== box || event.altKey || event.metaKey || event.ctrlKey) return;
    const keys = {
      "+": () => chart.zoom(ZOOM),
      "=": () => chart.zoom(ZOOM),
      "-": () => chart.zoom(1 / ZOOM),
      0: () => chart.sync.setView(null),
      ArrowLeft: () => (event.shiftKey ? chart.step(-1) : chart.move(-PAN)),
      ArrowRight: () => (event.shiftKey ? chart.step(1) : chart.move(PAN)),
      Enter: () => chart.openPointed(),
      f: () => chart.toggleFull(),
    };
    if (chart.sync.view) keys.Escape = keys[0];
    if (!keys[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  });
}
