// Completion of the filter: a combobox as of the ARIA Authoring Practices, with a list below the
// field. Names come from the server; operators and the values of attributes are known here.

const OPERATORS = ["=", "!=", "<", "<=", ">", ">=", "LIKE", "ILIKE", "IN", "IS NULL", "IS NOT NULL"];
const JOINS = ["and", "or"];
const DELAY_MS = 120;

// A name as it is typed: it may be the beginning of one.
const NAME = /(?:[A-Za-z]+\.(?:[\w./:-]*|`[^`]*`?|"[^"]*"?)|[^\W\d]\w*)$/u;
const AFTER_NAME = /(?:^|\(|\b(?:and|or)\s+)\s*(?<name>[A-Za-z]+\.(?:[\w./:-]+|`[^`]+`|"[^"]+")|[^\W\d]\w*)\s+(?<part>[a-z!=<> ]*)$/iu;
const AFTER_OPERATOR = /(?<name>[\w.]+)\s*(?:=|!=|IN\s*\((?:\s*"[^"]*"\s*,)*)\s*(?<part>"?[^"\s,)]*)$/iu;
const AFTER_VALUE = /(?:[=<>]\s*(?:"[^"]*"|'[^']*'|[\d.eE+-]+)|\bNULL|\)|LIKE\s+(?:"[^"]*"|'[^']*'))\s+(?<part>[a-z]*)$/iu;

const field = document.getElementById("filter");
const values = JSON.parse(document.getElementById("filter-values").textContent);

/** What may follow `text`: {start, options: [{text, what}]}, `start` being where it is put. */
async function suggestions(text) {
  const value = AFTER_OPERATOR.exec(text);
  if (value) {
    const options = values[value.groups.name.toLowerCase()];
    if (!options) return null;
    const part = value.groups.part.replace(/^"/, "").toLowerCase();
    const fits = (option) => `${option.text} ${option.what}`.toLowerCase().includes(part);
    return { start: text.length - value.groups.part.length, options: options.filter(fits) };
  }
  const starting = (words, part) =>
    words.filter((word) => word.toLowerCase().startsWith(part.toLowerCase())).map((word) => ({ text: word, what: "" }));
  const end = AFTER_VALUE.exec(text);
  if (end) return { start: text.length - end.groups.part.length, options: starting(JOINS, end.groups.part) };
  const operator = AFTER_NAME.exec(text);
  if (operator) {
    const part = operator.groups.part;
    return { start: text.length - part.length, options: starting(OPERATORS, part) };
  }
  if (/["'][^"']*$/.test(text.replace(/"[^"]*"|'[^']*'/g, ""))) return null; // inside a text
  const part = NAME.exec(text)?.[0] ?? "";
  const answer = await fetch(`${field.dataset.names}?${new URLSearchParams({ q: part })}`);
  if (!answer.ok) return null;
  return { start: text.length - part.length, options: (await answer.json()).names };
}

function complete() {
  const list = document.createElement("ul");
  list.id = "filter-options";
  list.hidden = true;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", field.getAttribute("aria-label"));
  field.after(list);
  field.setAttribute("role", "combobox");
  field.setAttribute("aria-autocomplete", "list");
  field.setAttribute("aria-controls", list.id);
  field.setAttribute("aria-expanded", "false");

  let offered = null; // {start, options}
  let at = -1; // the active option
  let timer;
  let asked = 0;

  function close() {
    clearTimeout(timer);
    asked += 1; // answers under way are late
    offered = null;
    at = -1;
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  }

  function open(found) {
    offered = found;
    at = -1;
    list.replaceChildren(
      ...found.options.map(({ text, what }, number) => {
        const item = document.createElement("li");
        item.id = `filter-option-${number}`;
        item.setAttribute("role", "option");
        item.setAttribute("aria-selected", "false");
        item.append(text);
        if (what) {
          const note = document.createElement("small");
          note.textContent = what;
          item.append(note);
        }
        return item;
      }),
    );
    list.hidden = false;
    list.scrollTop = 0;
    field.setAttribute("aria-expanded", "true");
    field.removeAttribute("aria-activedescendant");
  }

  function mark(number) {
    list.children[at]?.setAttribute("aria-selected", "false");
    at = (number + list.children.length) % list.children.length;
    const item = list.children[at];
    item.setAttribute("aria-selected", "true");
    item.scrollIntoView({ block: "nearest" });
    field.setAttribute("aria-activedescendant", item.id);
  }

  function take(number) {
    const { text } = offered.options[number];
    const end = field.selectionStart;
    field.setRangeText(`${text} `, offered.start, end, "end");
    offer();
  }

  async function offer() {
    const number = ++asked;
    const found = await suggestions(field.value.slice(0, field.selectionStart)).catch(() => null);
    if (number !== asked || document.activeElement !== field) return;
    if (found?.options.length) open(found);
    else close();
  }

  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(offer, DELAY_MS);
  });
  field.addEventListener("blur", close);
  list.addEventListener("mousedown", (event) => {
    event.preventDefault(); // the field keeps the focus
    const item = event.target.closest("[role=option]");
    if (item) take([...list.children].indexOf(item));
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" && !offered) {
      event.preventDefault();
      offer();
      return;
    }
    if (!offered) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      mark(event.key === "ArrowDown" ? at + 1 : at < 0 ? -1 : at - 1);
    } else if ((event.key === "Enter" && at >= 0) || event.key === "Tab" && !event.shiftKey && at >= 0) {
      event.preventDefault();
      take(at);
    } else if (event.key === "Escape") {
      event.preventDefault();
      close();
    }
  });
}

// Times without an offset are in UTC: those that are typed get the reader's, so that the address
// means the same to everybody.
const TIME = /\b((?:created|started|finished)\s*(?:[<>=!]=?|<>)\s*)(["'])(\d{4}-\d\d-\d\d)([T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?\2/giu;

function withOffsets(text) {
  return text.replace(TIME, (whole, before, quote, date, time) => {
    const minutes = -new Date(`${date}T${time?.slice(1) ?? "00:00"}`).getTimezoneOffset();
    if (Number.isNaN(minutes)) return whole; // 2026-02-31: the server says so
    const digits = (number) => String(Math.trunc(Math.abs(number))).padStart(2, "0");
    const offset = `${minutes < 0 ? "-" : "+"}${digits(minutes / 60)}:${digits(minutes % 60)}`;
    return `${before}${quote}${date}${time ?? ""}${offset}${quote}`;
  });
}

if (field) {
  complete();
  field.form.addEventListener("submit", () => {
    field.value = withOffsets(field.value);
  });
}
