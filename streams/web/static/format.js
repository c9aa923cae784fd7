// Numbers and times as people read them. English, whatever the browser's language, as is the rest of the page.

const whole = new Intl.NumberFormat("en");
const MISSING = "–";

/** 12345 → "12,345" */
export function count(n) {
  return whole.format(n);
}

/**
 * A mean and its interval, with as many decimals as the interval's width warrants, the same for both:
 * { mean: "12.9 %", interval: "12.1 – 13.7 %" } for a binary metric, { mean: "3.02", interval: "2.94 – 3.09" } for a value.
 */
export function estimate({ mean, interval }, binary) {
  if (mean === null) return { mean: MISSING, interval: "" };
  const [low, high] = interval ?? [mean, mean];
  const scale = binary ? 100 : 1;
  const unit = binary ? " %" : "";
  const text = numeral((((high - low) / 2) || Math.abs(mean) / 100) * scale, Math.abs(mean) * scale);
  const [m, l, h] = [mean, low, high].map((x) => text(x * scale));
  return { mean: m + unit, interval: interval ? `${l} – ${h}${unit}` : "" };
}

/** How to write numbers about as large as `size` that are known to about ± `error`. */
function numeral(error, size) {
  if (size >= 1e9 || (size > 0 && size < 1e-4)) return (x) => x.toExponential(2);
  const decimals = Math.min(6, Math.max(size < 100 ? 1 : 0, Math.floor(-Math.log10(error || 1)) + 1));
  const format = new Intl.NumberFormat("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  return (x) => format.format(x);
}

/** 0.1234 → "12.3 %" */
export function percent(share) {
  return share === null || share === undefined ? MISSING : `${(share * 100).toFixed(1)} %`;
}

/** A probability: never rounded to a certainty it is not. */
export function probability(p) {
  if (p === null || p === undefined) return MISSING;
  if (p > 0 && p < 0.001) return "< 0.1 %";
  if (p < 1 && p > 0.999) return "> 99.9 %";
  return percent(p);
}

/** Parts per million → "12.3 %" */
export function share(ppm) {
  return percent(ppm / 1e6);
}

/** A sentence whose numbers stay with their units at the end of a line. */
export function sentence(text) {
  return text.replaceAll(/\d (%|(s|ms)\b)/g, (match) => match.replace(" ", "\u00a0"));
}

/** Seconds → "0.4 s", "12 s", "3 min 05 s", "2 h 07 min", "3 d 4 h" */
export function duration(seconds) {
  const s = Math.max(0, seconds);
  if (s < 1) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  const two = (n) => String(Math.floor(n)).padStart(2, "0");
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${two((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** Seconds since the epoch → "14:03:07", with the date when that is half a day away. */
export function clock(ts, now) {
  const local = localTime(ts);
  return Math.abs(now - ts) < 43200 ? local.slice(11, 19) : local.slice(0, 19);
}

/** Seconds since the epoch → "2025-11-24 14:03:07.120" in the browser's time zone; plotly takes dates as they are written. */
export function localTime(ts) {
  const date = new Date(ts * 1000);
  return new Date(ts * 1000 - date.getTimezoneOffset() * 60000).toISOString().slice(0, 23).replace("T", " ");
}
