// What a person changes with a script is in the address too, and in every link and form that leads
// to another part of this page.

/** Set parameters, each to a list of texts; an empty list removes it. */
export function keep(changes) {
  const address = new URL(location.href);
  write(address.searchParams, changes);
  history.replaceState(history.state, "", readable(address));
  for (const link of document.querySelectorAll('a[href^="?"]')) {
    const target = new URL(link.getAttribute("href"), location.href);
    write(target.searchParams, changes);
    link.setAttribute("href", readable(target).slice(target.pathname.length));
  }
  for (const form of document.querySelectorAll("form[method=get]")) {
    for (const [name, texts] of Object.entries(changes)) {
      if (form.querySelector(`[name="${name}"]:not([type=hidden])`)) continue; // the form sets it itself
      for (const field of form.querySelectorAll(`input[type=hidden][name="${name}"]`)) field.remove();
      for (const text of texts) {
        const field = Object.assign(document.createElement("input"), { type: "hidden", name, value: text });
        form.prepend(field);
      }
    }
  }
}

/** Put parameters that another script has written to the address into the links as well. */
export function carry(names) {
  keep(Object.fromEntries(names.map((name) => [name, given(name)])));
}

/** The texts of a parameter of the address. */
export const given = (name) => new URL(location.href).searchParams.getAll(name);

/** This page's address with other runs. */
export function withRuns(ids) {
  const address = new URL(location.href);
  address.searchParams.set("runs", ids.join(","));
  address.searchParams.delete("brush");
  return readable(address);
}

function write(parameters, changes) {
  for (const [name, texts] of Object.entries(changes)) {
    parameters.delete(name);
    for (const text of texts) parameters.append(name, text);
  }
}

// Ids of runs stay apart by commas, as the server writes them.
const readable = (address) => `${address.pathname}${address.search.replaceAll("%2C", ",")}`;
