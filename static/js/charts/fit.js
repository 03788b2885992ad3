// The range of the y axis: the 1st to the 99th percentile, so that outliers do not squeeze the rest.

const LOW = 0.01;
const HIGH = 0.99;
const FEW = 10; // so few values are all shown
const SQUEEZED = 2; // all values are shown unless that takes more than so many times the space
const MARGIN = 0.05;

/**
 * `{min, max}` for the y axis. `lows` and `highs`: the finite minima and maxima of what is in view,
 * typed arrays, which are sorted here. `all`: outliers too. null without any value.
 */
export function fit(lows, highs, { all = false, log = false } = {}) {
  if (!lows.length) return null;
  lows.sort();
  highs.sort();
  let min = lows[0];
  let max = highs.at(-1);
  if (!all && highs.length >= FEW) {
    const place = log ? Math.log10 : (value) => value;
    const low = lows[Math.ceil((lows.length - 1) * LOW)];
    const high = highs[Math.floor((highs.length - 1) * HIGH)];
    const most = (place(high) - place(low)) * SQUEEZED;
    if (place(max) - place(min) > most) {
      // Whichever end is not far off is shown all the same.
      if (place(max) - place(low) > most) max = high;
      if (place(high) - place(min) > most) min = low;
    }
  }
  return log ? roomyLog(min, max) : roomy(min, max);
}

function roomy(min, max) {
  if (min === max) {
    const room = Math.abs(min) * 0.1 || 1;
    return { min: min - room, max: max + room };
  }
  const room = (max - min) * MARGIN;
  return { min: min - room, max: max + room };
}

function roomyLog(min, max) {
  if (min === max) return { min: min / 2, max: max * 2 };
  const room = (max / min) ** MARGIN;
  return { min: min / room, max: max * room };
}
