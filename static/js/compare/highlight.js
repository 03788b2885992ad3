// The run under the pointer or the focus, the same everywhere on the page: every element with its id
// in data-run gets the class "hovered".

const HOVER = "compare:hover";
let hovered = null;

/** Highlight the run with this id; null: none. */
export function hover(id) {
  if (id === hovered) return;
  for (const element of document.querySelectorAll(".hovered[data-run]")) element.classList.remove("hovered");
  hovered = id;
  if (id !== null) {
    for (const element of document.querySelectorAll(`[data-run="${CSS.escape(id)}"]`)) element.classList.add("hovered");
  }
  document.dispatchEvent(new CustomEvent(HOVER, { detail: id }));
}

/** Call ``listener`` with the id of the highlighted run, or null, whenever it changes. */
export function onHover(listener) {
  document.addEventListener(HOVER, (event) => listener(event.detail));
}

const idOf = (target) => target.closest?.("[data-run]")?.dataset.run ?? null;

for (const type of ["pointerover", "focusin"]) {
  document.addEventListener(type, (event) => {
    if (!event.target.closest?.("[data-own-hover]")) hover(idOf(event.target));
  });
}
document.documentElement.addEventListener("pointerleave", () => hover(null));
