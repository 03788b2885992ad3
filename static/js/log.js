// The log docked below the charts: follows its end, or shows the lines around a step or time.
//
// It asks for new lines when live.js has found news of the run, and stays where the reader has
// scrolled to or jumped to.

const log = document.getElementById("log");
const pause = document.getElementById("log-pause");
const jump = document.getElementById("log-jump");

const LINES_KEPT = 2000; // limits the page's size during long runs
const NEAR_END = 40; // pixels
const END = 286;
let isPaused = false;
let atEnd = true;
let asking = false;
let again = false; // there was news while it was asking
let last = log.dataset.after; // the number of the last line that was seen

const toEnd = () => { log.scrollTop = log.scrollHeight; };
const shown = () => document.dispatchEvent(new Event("page:changed")); // times.js

async function follow() {
  again = asking;
  if (!log.dataset.tail || isPaused || asking) return;
  asking = true;
  try {
    const response = await fetch(`${log.dataset.tail}&after=${last}`);
    if (!response.ok || response.redirected) return;
    if (response.status === END) delete log.dataset.tail;
    if (response.status === 204) return;
    last = response.headers.get("X-Log-After") ?? last;
    log.insertAdjacentHTML("beforeend", await response.text());
    while (log.children.length > LINES_KEPT && atEnd) log.firstElementChild.remove();
    if (atEnd) toEnd();
    shown();
  } catch {
    // Offline: live.js says so, and asks again.
  } finally {
    asking = false;
    if (again) follow();
  }
}

function setPaused(paused) {
  isPaused = paused;
  if (!pause) return;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? pause.dataset.follow : pause.dataset.pause;
}

async function show(query) {
  const response = await fetch(`${log.dataset.lines}?${query}`);
  if (response.redirected) return location.reload();
  setPaused(true);
  log.innerHTML = await response.text();
  shown();
  const marked = log.querySelector(".marked");
  if (marked) log.scrollTop = marked.offsetTop - log.offsetTop - log.clientHeight / 3;
  else log.scrollTop = 0;
  log.closest("section").scrollIntoView({ block: "nearest" });
  log.focus({ preventScroll: true });
}

toEnd();
log.addEventListener("scroll", () => {
  atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END;
});
document.addEventListener("live:changed", follow);

pause?.addEventListener("click", () => {
  if (!isPaused) return setPaused(true);
  setPaused(false);
  if (log.querySelector(".marked, .gap")) { // it was elsewhere: back to the end
    log.replaceChildren();
    last = Math.max(0, Number(last) - 200);
  }
  atEnd = true;
  follow();
});
if (pause) pause.hidden = false;

jump.addEventListener("submit", (event) => {
  event.preventDefault();
  show(new URLSearchParams(new FormData(jump)));
});

// Links into the log from what is on this page, such as a point of a chart, open it here.
document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  const link = event.target.closest?.("a[href]");
  if (!link || link.pathname !== log.dataset.log || log.contains(link)) return;
  const query = new URLSearchParams(link.search);
  if (![...query.keys()].some((key) => key.startsWith("at_"))) return;
  event.preventDefault();
  show(query);
});
