// Loaded before ReDoc, whose menu shows a logo of its makers' host. There is no option to leave it
// out, and the page's policy refuses it: an image that is none makes ReDoc leave it out.

const HOST = "https://cdn.redoc.ly/";
const NO_IMAGE = "data:,";
const prototype = HTMLImageElement.prototype;
const { setAttribute } = prototype;
const source = Object.getOwnPropertyDescriptor(prototype, "src");

const allowed = (address) => (String(address).startsWith(HOST) ? NO_IMAGE : address);

// React, which ReDoc is written in, sets both.
prototype.setAttribute = function (name, value) {
  setAttribute.call(this, name, name === "src" ? allowed(value) : value);
};
Object.defineProperty(prototype, "src", {
  ...source,
  set(address) {
    source.set.call(this, allowed(address));
  },
});
