// Times, ages and counts as people read them. Pure.

/** RFC 3339 → `YYYY-MM-DD HH:MM:SS` in UTC; nothing → `Never`. */
export function utc(time) {
  if (!time) return "Never";
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? String(time) : date.toISOString().slice(0, 19).replace("T", " ");
}

const UNITS = [
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];

/** Seconds → "12 days", "3 hours": the largest unit alone. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [unit, size] = UNITS.find(([, size]) => whole >= size) ?? ["second", 1];
  return count(Math.floor(whole / size), unit);
}

/** A time relative to now: "3 minutes ago", "in 2 days". */
export function relative(time, now = Date.now()) {
  if (!time) return "";
  const seconds = (new Date(time).getTime() - now) / 1000;
  if (Math.abs(seconds) < 2) return "just now";
  return seconds < 0 ? `${duration(-seconds)} ago` : `in ${duration(seconds)}`;
}

/** Milliseconds → "12 ms", "3.4 s". */
export function milliseconds(ms) {
  return ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** "1 key", "1,204 keys". */
export function count(number, word, plural = `${word}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? word : plural}`;
}

/** RFC 3339 → what a datetime-local field holds, in UTC. */
export function toField(time) {
  return time ? new Date(time).toISOString().slice(0, 16) : "";
}

/** What a datetime-local field holds, read as UTC → RFC 3339. */
export function fromField(value) {
  return value ? `${value.length === 16 ? `${value}:00` : value}Z` : null;
}
