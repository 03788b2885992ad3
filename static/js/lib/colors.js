// The design tokens as colors that a canvas understands, in the scheme in use.

const probe = document.createElement("span");
probe.hidden = true;
document.body.append(probe);
const known = new Map();

/** The computed color of a custom property such as "--series-3". */
export function color(name) {
  if (!known.has(name)) {
    probe.style.color = `var(${name})`;
    known.set(name, getComputedStyle(probe).color);
  }
  return known.get(name);
}

// The system's scheme changes while a page is open.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  known.clear();
  document.dispatchEvent(new Event("themechange"));
});
