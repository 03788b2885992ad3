// Selecting rows: all at once, ranges with shift, their number, and actions only if there are any.

const form = document.getElementById("selection");
const bar = document.getElementById("selection-actions"); // whose controls belong to the form

function boxes() {
  return [...form.querySelectorAll("input[name=runs]")];
}

function show() {
  const all = boxes();
  const chosen = all.filter((box) => box.checked).length;
  const everything = bar.querySelector("[data-all]")?.checked;
  for (const box of all) box.closest("tr").classList.toggle("selected", box.checked);
  const count = bar.querySelector("[data-count]");
  if (!everything) count.textContent = chosen ? count.dataset.some.replace("{n}", chosen) : count.dataset.none;
  for (const button of bar.querySelectorAll("[data-of-selection]")) button.disabled = !chosen && !everything;
  const whole = form.querySelector("[data-select-all]");
  whole.hidden = false;
  whole.checked = chosen > 0 && chosen === all.length;
  whole.indeterminate = chosen > 0 && chosen < all.length;
}

if (form) {
  let last = null; // the row that was clicked before

  form.addEventListener("click", (event) => {
    const box = event.target.closest("input[name=runs]");
    if (!box) return;
    const all = boxes();
    const from = all.indexOf(last);
    if (event.shiftKey && from >= 0) {
      const to = all.indexOf(box);
      for (const other of all.slice(Math.min(from, to), Math.max(from, to) + 1)) other.checked = box.checked;
    }
    last = box;
  });
  form.addEventListener("change", (event) => {
    if (event.target.matches("[data-select-all]")) {
      for (const box of boxes()) box.checked = event.target.checked;
    }
    show();
  });
  bar.addEventListener("change", show);
  bar.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.matches("[name^=tag_]")) return;
    event.preventDefault();
    bar.querySelector("button[value=tag]").click();
  });
  document.addEventListener("live:changed", show);
  addEventListener("pageshow", show); // the browser may have kept what was checked
}
