// What every tab of a comparison has.

import "./highlight.js";

// A form whose every change is a new page needs no button.
for (const form of document.querySelectorAll("form[data-submit]")) {
  form.querySelector("[data-without-script]")?.setAttribute("hidden", "");
  form.addEventListener("change", () => form.requestSubmit());
}

// Long lists of choices can be filtered.
for (const field of document.querySelectorAll("input[data-filter]")) {
  const items = [...field.form.querySelectorAll("li")];
  field.hidden = false;
  field.addEventListener("input", () => {
    const text = field.value.trim().toLowerCase();
    for (const item of items) item.hidden = !item.textContent.toLowerCase().includes(text);
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") event.preventDefault(); // it filters, and sends nothing
  });
}

// Runs are found while their name is typed.
const SEARCH_DELAY_MS = 250;
for (const form of document.querySelectorAll("form[data-found]")) {
  let timer;
  let asked = 0;
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const number = ++asked;
      const query = new URLSearchParams(new FormData(form));
      const response = await fetch(`${form.dataset.found}?${query}`);
      if (!response.ok || number !== asked) return; // it has been asked again since
      form.parentElement.querySelector(".found").outerHTML = await response.text();
    }, SEARCH_DELAY_MS);
  });
}

for (const menu of document.querySelectorAll("details.menu")) {
  menu.addEventListener("toggle", () => {
    if (menu.open) menu.querySelector("input[type=search]:not([hidden])")?.focus();
  });
}
