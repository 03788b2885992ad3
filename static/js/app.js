// What every page needs beside htmx: nothing works by this script alone.

// The address that MLflow's clients print, /#/experiments/{id}/runs/{id}: a browser keeps what stands
// behind the # when the root sends it here, or to the sign-in.
(() => {
  const id = "([A-Za-z0-9_-]{1,64})";
  const link = new RegExp(`^#/experiments/${id}(?:/runs/${id})?(?:[/?]|$)`).exec(location.hash);
  if (!link) return;
  const [, project, run] = link;
  location.replace(`/dashboard/projects/${project}${run ? `/runs/${run}` : ""}`);
})();

(() => {
  const offline = document.getElementById("offline");

  // A page nobody looks at asks for nothing.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.target.hasAttribute("data-poll")) event.preventDefault();
  });

  document.addEventListener("htmx:sendError", () => { offline.hidden = false; });
  document.addEventListener("htmx:afterRequest", (event) => {
    const { status } = event.detail.xhr;
    if (status > 0) offline.hidden = true;
    if (status === 404) location.reload(); // what was looked at is gone: say so
  });

  // Signed out meanwhile: a fragment was answered with the sign-in page; show it as a page.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, pathInfo } = event.detail;
    const answered = xhr.responseURL && new URL(xhr.responseURL).pathname;
    if (answered && answered !== new URL(pathInfo.finalRequestPath, location.href).pathname) {
      event.preventDefault();
      location.reload();
    }
  });

  // Screen readers hear a change of the run's status, not every step of its progress.
  const announcement = document.getElementById("announcement");
  let status = document.getElementById("run-live")?.dataset.status;
  document.addEventListener("htmx:afterSettle", () => {
    const now = document.getElementById("run-live")?.dataset.status;
    if (announcement && now && now !== status) announcement.textContent = status = now;
  });

  // One panel at a time, and Escape closes it.
  document.addEventListener("click", (event) => {
    for (const panel of document.querySelectorAll("details.confirm[open]")) {
      if (!panel.contains(event.target)) panel.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const panel of document.querySelectorAll("details.confirm[open]")) {
      panel.open = false;
      panel.querySelector("summary").focus();
    }
  });
})();
