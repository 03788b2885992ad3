// The elements of a chart: title, buttons, legend, the box that is drawn in, what is said over it.

export const element = (name, className, text) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text != null) made.textContent = text;
  return made;
};

const button = (className, label, text, act) => {
  const made = element("button", `quiet small ${className}`, text);
  made.type = "button";
  made.title = label;
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
};

/**
 * `{figure, outliers, legend, box, note, tip}`. `acts`: `full()`, `save()` and `outliers()` are called
 * for the buttons, `csv()` returns the address of what is shown.
 */
export function makeFigure(title, words, acts) {
  const figure = element("figure", "chart");
  figure.setAttribute("aria-label", `${words.chart} ${title}`);
  const head = element("figcaption", "chart-head");
  const heading = element("span", "chart-title", title);
  heading.title = title;
  const outliers = element("button", "quiet small chart-outliers");
  outliers.type = "button";
  outliers.hidden = true;
  outliers.addEventListener("click", acts.outliers);
  const tools = element("span", "chart-tools");
  tools.append(
    button("chart-full", words.full, "⤢", acts.full),
    button("chart-picture", words.picture, "PNG", acts.save),
    csvLink(words, acts.csv),
  );
  head.append(heading, outliers, tools);
  const legend = element("p", "chart-legend");
  const box = element("div", "chart-plot");
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", `${words.chart} ${title}. ${words.keys}`);
  const note = element("p", "chart-note");
  const tip = element("p", "chart-tip");
  note.hidden = tip.hidden = true;
  box.append(note, tip);
  figure.append(head, legend, box);
  return { figure, outliers, legend, box, note, tip };
}

function csvLink(words, address) {
  const link = element("a", "button quiet small chart-csv", "CSV");
  link.title = words.csv;
  link.setAttribute("aria-label", words.csv);
  link.href = "#";
  link.download = "";
  link.addEventListener("click", () => { link.href = address(); });
  return link;
}

/** Show `figure` in a dialog over the page until that is closed; `closed` is called then. Returns the
 * dialog. */
export function openFull(figure, title, closed) {
  const dialog = element("dialog", "chart-dialog");
  dialog.setAttribute("aria-label", title);
  const place = element("div", "chart-place");
  figure.replaceWith(place);
  dialog.append(figure);
  document.body.append(dialog);
  dialog.addEventListener("close", () => {
    place.replaceWith(figure);
    dialog.remove();
    closed();
  });
  dialog.showModal();
  return dialog;
}
