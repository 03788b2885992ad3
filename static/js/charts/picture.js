// Saves a chart as a PNG, with its title and the names of its curves.

import { color } from "../lib/colors.js";

const FAMILY = 'system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif';
export const FONT = `11px ${FAMILY}`;

/** Let the browser save `canvas` under the chart's `title`. `curves`: `{name, color}` each. */
export function savePicture(canvas, title, curves) {
  const ratio = devicePixelRatio || 1;
  const head = 44 * ratio;
  const picture = document.createElement("canvas");
  picture.width = canvas.width;
  picture.height = canvas.height + head;
  const context = picture.getContext("2d");
  context.fillStyle = color("--surface");
  context.fillRect(0, 0, picture.width, picture.height);
  context.textBaseline = "middle";
  context.font = `600 ${13 * ratio}px ${FAMILY}`;
  context.fillStyle = color("--text");
  context.fillText(title, 10 * ratio, 14 * ratio);
  context.font = `${11 * ratio}px ${FAMILY}`;
  let left = 10 * ratio;
  for (const { name, color: property } of curves) {
    context.fillStyle = color(property);
    context.fillRect(left, 28 * ratio, 8 * ratio, 8 * ratio);
    context.fillStyle = color("--text");
    context.fillText(name, left + 12 * ratio, 32 * ratio);
    left += context.measureText(name).width + 28 * ratio;
    if (left > picture.width) break;
  }
  context.drawImage(canvas, 0, head);
  picture.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${title.replaceAll(/[^\p{L}\p{N}._-]+/gu, "-")}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
}
