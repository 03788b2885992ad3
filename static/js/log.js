// The live log: scroll to the end unless the user has scrolled up or paused.

(() => {
  const log = document.getElementById("log");
  const pause = document.getElementById("log-pause");
  if (!log) return;

  const LINES_KEPT = 2000; // limits the page's size during long runs
  const NEAR_END = 40; // pixels
  let paused = false;
  let atEnd = true;

  const toEnd = () => { log.scrollTop = log.scrollHeight; };
  toEnd();
  log.addEventListener("scroll", () => {
    atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END;
  });

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (paused && event.target.id === "log-next") event.preventDefault();
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    if (!log.contains(event.target)) return;
    while (log.children.length > LINES_KEPT && atEnd) log.firstElementChild.remove();
    if (atEnd && !paused) toEnd();
  });

  if (pause) {
    pause.hidden = false;
    pause.addEventListener("click", () => {
      paused = !paused;
      pause.setAttribute("aria-pressed", String(paused));
      pause.textContent = paused ? pause.dataset.follow : pause.dataset.pause;
      if (!paused) toEnd();
    });
  }
})();
