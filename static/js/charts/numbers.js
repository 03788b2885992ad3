// Numbers and times as text.

const LOCALE = document.documentElement.lang || undefined;
const whole = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });

/** Five significant digits; NaN and infinities by name. */
export function short(value) {
  if (value == null) return "–";
  if (!Number.isFinite(value)) return String(value).replace("Infinity", "∞");
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(3).replace(/\.?0*e\+?/, "e");
  return Number(value.toPrecision(5)).toString();
}

export const steps = (value) => whole.format(value);

const time = new Intl.DateTimeFormat(LOCALE, { dateStyle: "short", timeStyle: "medium" });

export const clock = (ms) => time.format(new Date(ms));

const dayCount = new Intl.NumberFormat(LOCALE, { style: "unit", unit: "day", unitDisplay: "narrow" });

/** Seconds as 1d 02:03:04. */
export function duration(seconds) {
  const rest = Math.abs(Math.round(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const hours = `${two(Math.floor(rest / 3600) % 24)}:${two(Math.floor(rest / 60) % 60)}:${two(rest % 60)}`;
  const days = Math.floor(rest / 86_400);
  return `${seconds < 0 ? "−" : ""}${days ? `${dayCount.format(days)} ` : ""}${hours}`;
}
