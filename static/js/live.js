// Keeps the parts of a page that have data-live="URL" up to date.
//
// Asks for the URL, less and less often while nothing changes, and by condition: the answer is 304
// or the parts as they are now, each an element with an id that takes the place of the page's.
// Status 286 ends it. What is being edited, opened or selected stays as it is.

const FASTEST_MS = 2000;
const SLOWEST_MS = 10_000;
const SLOWER = 1.4; // after each answer without news
const END = 286;

const offline = document.getElementById("offline");

const callbacks = {
  // What a person has entered, checked or opened is theirs.
  beforeNodeMorphed: (old) => !(old instanceof Element && old.matches("input, select, textarea, [data-keep]")),
  beforeAttributeUpdated: (name, node) =>
    !(name === "open" && node.matches("details, dialog")) && !(name === "class" && node.matches("tr.selected")),
};

function replace(html) {
  const parts = new DOMParser().parseFromString(html, "text/html").body.children;
  for (const part of [...parts]) {
    const present = part.id && document.getElementById(part.id);
    if (present) window.Idiomorph.morph(present, part, { callbacks, ignoreActiveValue: true });
  }
  document.dispatchEvent(new Event("page:changed"));
}

/** Replace the page's elements that have the ids of those in the answer of ``url``. */
async function refresh(url) {
  const response = await fetch(url, { headers: { "X-Part": "true" } });
  if (response.redirected || response.status === 404) return location.reload();
  if (response.ok) replace(await response.text());
}

function follow(url) {
  let etag = "";
  let wait = FASTEST_MS;
  let timer;
  let isAsking = false; // an answer is awaited, and the next question follows it
  let hasEnded = false;

  async function ask() {
    const headers = { "X-Part": "true", ...(etag && { "If-None-Match": etag }) };
    const response = await fetch(url, { headers, cache: "no-store" });
    // The object is gone, or the session has ended: the page itself says so.
    if (response.redirected || response.status === 404) return location.reload();
    if (response.status === 304) {
      wait = Math.min(SLOWEST_MS, wait * SLOWER);
      return true;
    }
    if (!response.ok) throw new Error(`${response.status} ${url}`);
    etag = response.headers.get("ETag") ?? "";
    wait = FASTEST_MS;
    replace(await response.text());
    document.dispatchEvent(new Event("live:changed"));
    return response.status !== END;
  }

  async function next() {
    if (isAsking || hasEnded || document.hidden) return; // asked when it is seen again
    isAsking = true;
    try {
      hasEnded = !(await ask());
      offline.hidden = true;
    } catch (error) {
      offline.hidden = false;
      wait = SLOWEST_MS;
      console.warn("TrainHub: no live update", error); // asked again below
    }
    isAsking = false;
    clearTimeout(timer);
    timer = setTimeout(next, wait);
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    wait = FASTEST_MS;
    if (!document.hidden) next();
  });
  timer = setTimeout(next, wait);
}

if (window.Idiomorph) {
  // What is as it was when the page was made, until it is opened.
  document.addEventListener("toggle", ({ target }) => {
    if (target.open && target.dataset?.refresh) refresh(target.dataset.refresh);
  }, { capture: true }); // it does not bubble
  new Set([...document.querySelectorAll("[data-live]")].map((part) => part.dataset.live)).forEach(follow);
}
