// The form of a run offers what the chosen recipe can use: GPU types that its executor's pools have,
// code if it takes some, the repositories that it lists. Without JavaScript, everything is offered,
// and what does not fit is refused.

const form = document.getElementById("run-form");

/** Hide the options that do not fit; what was chosen of them is chosen no more. */
function offer(select, fits) {
  if (!(select instanceof HTMLSelectElement)) return; // a free text, where there is nothing to choose
  for (const option of select.options) {
    option.hidden = option.disabled = !fits(option);
  }
  if (select.selectedOptions[0]?.disabled) select.value = "";
}

function update() {
  const { executor, code, repositories } = form.elements.recipe.selectedOptions[0].dataset;
  offer(
    form.elements.gpu_type,
    ({ dataset }) => !executor || !dataset.executors || dataset.executors.split(" ").includes(executor),
  );
  offer(
    form.elements.git_url,
    ({ value }) => !value || repositories === undefined || repositories.split(" ").includes(value),
  );
  const fields = document.getElementById("code-fields");
  if (!fields) return;
  fields.hidden = code === "none" && !fields.querySelector(".invalid");
}

if (form) {
  form.elements.recipe.addEventListener("change", update);
  update();
}
