// Shows the pages' times in the browser's zone, labelled. Without JavaScript they are in UTC.

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
  const offset = (at) => at.timeZoneName.replace("GMT", "UTC"); // UTC+8

  // What to write in place of the server's text, by data-show.
  const texts = {
    full: (at) => `${day(at)} ${clock(at)} ${offset(at)}`,
    clock: (at) => `${clock(at)}.${at.fractionalSecond}`,
    ago: (at, element) => element.textContent,
  };

  function show() {
    for (const element of document.querySelectorAll("time[data-show]")) {
      const at = partsOf(new Date(element.dateTime));
      element.textContent = texts[element.dataset.show](at, element);
      element.title = texts.full(at);
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
  document.addEventListener("htmx:afterSwap", show); // before the browser paints
  document.querySelectorAll("input[name=zone]").forEach(enter);
})();
