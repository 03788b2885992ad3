// Shared by all pages. Everything also works without JavaScript.

// MLflow clients print URLs like /#/experiments/{id}/runs/{id}. The browser keeps the fragment when /
// redirects here or to the sign-in page.
(() => {
  const id = "([A-Za-z0-9_-]{1,64})";
  const link = new RegExp(`^#/experiments/${id}(?:/runs/${id})?(?:[/?]|$)`).exec(location.hash);
  if (!link) return;
  const [, project, run] = link;
  location.replace(`/dashboard/projects/${project}${run ? `/runs/${run}` : ""}`);
})();

(() => {
  // Announce changes of the run's status to screen readers, but not every progress update.
  const announcement = document.getElementById("announcement");
  let status = document.getElementById("run-live")?.dataset.status;
  const announce = () => {
    const now = document.getElementById("run-live")?.dataset.status;
    if (announcement && now && now !== status) announcement.textContent = status = now;
  };
  document.addEventListener("live:changed", announce);

  // Only one panel is open at a time; Escape closes it.
  const openPanels = () => document.querySelectorAll("details:is(.confirm, .menu)[open]");
  document.addEventListener("click", (event) => {
    for (const panel of openPanels()) {
      if (!panel.contains(event.target)) panel.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const panel of openPanels()) {
      panel.open = false;
      panel.querySelector("summary").focus();
    }
  });

  // What is to be pasted elsewhere: <button data-copy="#id">. Where the browser copies nothing, it is
  // selected, so that a key does.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.querySelector(button.dataset.copy);
    if ((await copy(source.textContent.trim())) || copySelected(source)) button.textContent = button.dataset.copied ?? "✓";
  });

  async function copy(text) {
    if (!navigator.clipboard) return false; // as on pages without HTTPS
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch (error) {
      console.info("TrainHub: the clipboard is closed to pages", error);
      return false;
    }
  }

  function copySelected(source) {
    getSelection().selectAllChildren(source);
    return document.execCommand("copy");
  }
})();
