// Keys: "/" to search, "?" for help, j and k to move among rows, x to select one, "g h" to go home.
// An element with data-key="c" is focused or clicked by that key.

const PLACES = { h: "/dashboard", p: "/dashboard/projects", q: "/dashboard/workers" };
const SEQUENCE_MS = 1500; // between g and the place

// Who speaks to the computer turns them off: what is said may contain any of them (WCAG 2.1.4).
const OFF = "shortcuts-off";
const help = document.getElementById("keys");
const off = help.querySelector("[data-shortcuts-off]");
off.checked = localStorage.getItem(OFF) !== null;
off.addEventListener("change", () => {
  if (off.checked) localStorage.setItem(OFF, "");
  else localStorage.removeItem(OFF);
});

for (const button of document.querySelectorAll('[data-key="?"]')) {
  button.hidden = false;
  button.addEventListener("click", () => help.showModal());
}

const isTyping = (target) => target.closest?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable], dialog");
const rows = () => [...document.querySelectorAll("tr[data-row]")].filter((row) => row.checkVisibility());
const current = () => document.activeElement?.closest?.("tr[data-row]");

function move(by) {
  const all = rows();
  if (!all.length) return;
  const at = all.indexOf(current());
  const row = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.max(0, Math.min(all.length - 1, at + by))];
  row.tabIndex = -1;
  row.focus();
  row.scrollIntoView({ block: "nearest" });
}

const actions = {
  "?": () => help.showModal(),
  j: () => move(1),
  k: () => move(-1),
  x: () => current()?.querySelector("input[type=checkbox]")?.click(),
};

let goingSince = -Infinity;

document.addEventListener("keydown", (event) => {
  if (off.checked || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isTyping(event.target)) return;
  if (event.timeStamp - goingSince < SEQUENCE_MS && PLACES[event.key]) {
    location.assign(PLACES[event.key]);
    return;
  }
  goingSince = event.key === "g" ? event.timeStamp : -Infinity;
  if (event.key === "Enter" && event.target.matches("tr[data-row]")) {
    event.target.querySelector("a")?.click();
    return;
  }
  const named = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (named && event.key !== "?") {
    event.preventDefault(); // the key itself is not typed
    if (named.matches("input, textarea, select")) {
      named.focus();
      named.select?.();
    } else {
      named.click();
    }
  } else if (actions[event.key]) {
    event.preventDefault();
    actions[event.key]();
  }
});
