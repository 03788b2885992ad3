// Shows the pages' times in the browser's zone, labelled, and keeps "3 min ago" true. Without
// JavaScript they are in UTC, and as old as the page.

(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const format = new Intl.DateTimeFormat("en", {
    year: "numeric", month: "2-digit", day: "2-digit",
    hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3,
    hourCycle: "h23", timeZoneName: "shortOffset",
  });
  const partsOf = (date) =>
    Object.fromEntries(format.formatToParts(date).map(({ type, value }) => [type, value]));
  const day = (at) => `${at.year}-${at.month}-${at.day}`;
  const clock = (at) => `${at.hour}:${at.minute}:${at.second}`;
  // As |ago in core/templatetags/pages.py.
  const words = Object.entries(JSON.parse(document.body.dataset.ago)).map(([size, text]) => [Number(size), text]);
  function ago(date) {
    const seconds = Math.max(0, Math.floor((Date.now() - date) / 1000));
    const [size, text] = words.findLast(([size]) => seconds >= size) ?? words[0];
    return text.replace("%(n)d", Math.floor(seconds / size));
  }
  const offset = (at) => at.timeZoneName.replace("GMT", "UTC"); // UTC+8

  // What to write in place of the server's text, by data-show.
  const texts = {
    full: (at) => `${day(at)} ${clock(at)} ${offset(at)}`,
    clock: (at) => `${clock(at)}.${at.fractionalSecond}`,
    ago: (at, element) => ago(new Date(element.dateTime)),
  };

  function show() {
    for (const element of document.querySelectorAll("time[data-show]")) {
      const at = partsOf(new Date(element.dateTime));
      element.textContent = texts[element.dataset.show](at, element);
      element.title = texts.full(at);
      if (element.dataset.show === "ago") element.dataset.ago = "";
      delete element.dataset.show; // done
    }
    for (const element of document.querySelectorAll("[data-zone]")) {
      element.textContent = `${zone} (${offset(partsOf(new Date()))})`;
      delete element.dataset.zone;
    }
  }

  // Times that are entered: the form says in which zone they are.
  function enter(field) {
    for (const input of field.form.querySelectorAll("input[type=datetime-local]")) {
      const { instant } = input.dataset;
      if (instant) {
        const at = partsOf(new Date(instant));
        input.value = `${day(at)}T${clock(at)}`;
      }
      for (const label of input.labels) {
        label.textContent = label.textContent.replace(field.value, zone);
      }
    }
    field.value = zone;
  }

  show();
  document.addEventListener("page:changed", show); // before the browser paints
  setInterval(() => {
    for (const element of document.querySelectorAll("time[data-ago]")) {
      element.textContent = ago(new Date(element.dateTime));
    }
  }, 5000);
  document.querySelectorAll("input[name=zone]").forEach(enter);
})();
