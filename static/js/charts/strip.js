// Curves drawn once on a canvas wider than the chart, and shown shifted while it is panned: curves cost
// time once in a while, not with every frame.

const AROUND = 1; // widths of the chart drawn on either side of it

export class Strip {
  #canvas = document.createElement("canvas");
  #at = null; // the frame that is drawn: see frame() of drawing.js

  /** Show on `context` what `paint(context, frame)` draws in the frame `at`. */
  show(context, at, paint) {
    if (!this.#has(at)) this.#paint(at, paint);
    const shift = Math.round((this.#at.xMin - at.xMin) * at.perX);
    context.drawImage(this.#canvas, Math.round(at.left) + shift, Math.round(at.top));
  }

  /** After a change of the curves, or of how they look. */
  forget() {
    this.#at = null;
  }

  #has(at) {
    const have = this.#at;
    return (
      have !== null
      && ["height", "yMin", "yMax", "log", "ratio"].every((name) => have[name] === at[name])
      && Math.abs(have.perX / at.perX - 1) * at.width < 0.5 // panned, not zoomed
      && have.xMin <= at.xMin
      && have.xMax >= at.xMax
    );
  }

  #paint(at, paint) {
    const margin = (at.xMax - at.xMin) * AROUND;
    const width = at.width * (1 + 2 * AROUND);
    this.#at = {
      ...at,
      left: 0, top: 0, right: width, bottom: at.height, width,
      xMin: at.xMin - margin,
      xMax: at.xMax + margin,
    };
    this.#canvas.width = Math.round(width); // which empties it
    this.#canvas.height = Math.round(at.height);
    paint(this.#canvas.getContext("2d"), this.#at);
  }
}
