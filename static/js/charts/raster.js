// Pixel columns, written straight into memory: thousands a frame for fifty curves, which a canvas
// would take a hundred times as long to fill one by one.

const canvas = document.createElement("canvas");
const context = canvas.getContext("2d", { willReadFrequently: true });
let image = null;
let pixels = null;

/** Begin an empty picture. */
export function begin(width, height) {
  if (image?.width !== width || image.height !== height) {
    canvas.width = width;
    canvas.height = height;
    image = context.createImageData(width, height);
    pixels = new Uint32Array(image.data.buffer);
  } else {
    pixels.fill(0);
  }
}

/** Fill the pixels from `left` and `top` to before `right` and `bottom`, as far as they are in the
 * picture; what was there before is replaced. `rgba`: see pixel. */
export function fill(left, top, right, bottom, rgba) {
  const { width, height } = image;
  const x0 = Math.max(0, left);
  const x1 = Math.min(width, right);
  const y1 = Math.min(height, bottom) * width;
  for (let row = Math.max(0, top) * width; row < y1; row += width) {
    for (let x = x0; x < x1; x += 1) pixels[row + x] = rgba;
  }
}

/** Draw the picture on `target` at its pixel (x, y). */
export function drawOn(target, x, y) {
  context.putImageData(image, 0, 0);
  target.drawImage(canvas, x, y);
}

const known = new Map();

/** A computed color, "rgb(47, 111, 183)", with an opacity, as a pixel in memory. */
export function pixel(color, opacity = 1) {
  const name = `${color} ${opacity}`;
  if (!known.has(name)) {
    const [red, green, blue] = color.match(/[\d.]+/g).map(Number);
    const bytes = new Uint8Array([red, green, blue, Math.round(opacity * 255)]);
    known.set(name, new Uint32Array(bytes.buffer)[0]);
  }
  return known.get(name);
}
