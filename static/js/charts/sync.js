// What all charts of a page share: the range in view, the crosshair, the curve pointed at, settings.

/**
 * Events: "view" (the range in view has changed; detail: {settled}), "hover" (the crosshair),
 * "highlight" (the curve pointed at), "settings".
 */
export class Sync extends EventTarget {
  settings = { axis: "step", smoothing: 0, log: false, superseded: true, whole: true };
  /** {min, max} on the x axis; null for all. */
  view = null;
  /** Whether the range is being dragged. */
  isMoving = false;
  /** The x under the crosshair; null without one. */
  x = null;
  /** The `group` of the curve pointed at, such as a run's id; null for none. */
  highlighted = null;

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** `settled`: false while the range is being dragged. */
  setView(view, { settled = true, from = null } = {}) {
    this.view = view;
    this.isMoving = !settled;
    this.#emit("view", { settled, from });
  }

  hover(x, from) {
    this.x = x;
    this.#emit("hover", { from });
  }

  highlight(group) {
    if (group === this.highlighted) return;
    this.highlighted = group;
    this.#emit("highlight");
  }

  set(settings) {
    const axis = this.settings.axis;
    this.settings = { ...this.settings, ...settings };
    if (this.settings.axis !== axis) this.view = null; // it was in other units
    this.#emit("settings");
  }
}
