// What an audit record tells, as people read it: changes as "role READONLY → ADMIN", limits by their names, nothing
// about what is not set. Pure but for the elements it makes.

import { h } from "../dom.js";
import { utc } from "../format.js";

const WORDS = { app_key: "app key", expires_at: "expires", allowed_networks: "networks", allowed_routes: "routes" };
/** What it means that one of these is not set. */
const UNSET = { expires_at: "never", allowed_networks: "all", allowed_routes: "all" };
const isSet = (value) => value !== null && value !== undefined && value !== "";

/** The lines of a record's detail. Members in `without` are said elsewhere. */
export function detailLines(detail, without = []) {
  const { before, after, ...rest } = detail ?? {};
  const told = flat(rest).filter(([name, value]) => isSet(value) && !without.includes(name));
  const lines = [...changes(before, after), ...told.map(([name, value]) => [name, text(value)])];
  if (lines.length === 0) return h("span", { class: "faint" }, "–");
  return h(
    "ul",
    { class: "detail" },
    lines.map(([name, value]) => h("li", {}, h("span", { class: "detail-name" }, words(name)), " ", value)),
  );
}

/** What differs, as "before → after". Without an after it is gone, and only what was is told. */
function changes(before, after) {
  const old = new Map(flat(before ?? {}));
  if (!after) return [...old].filter(([, value]) => isSet(value)).map(([name, value]) => [name, `was ${text(value)}`]);
  const now = new Map(flat(after));
  const names = [...new Set([...old.keys(), ...now.keys()])];
  return names
    .map((name) => [name, shown(name, old.get(name)), shown(name, now.get(name))])
    .filter(([, was, is]) => was !== is)
    .map(([name, was, is]) => [name, `${was} → ${is}`]);
}

const shown = (name, value) => (isSet(value) ? text(value) : (UNSET[name] ?? "none"));

/** Members with those of the objects in them, which are groups and say nothing themselves. */
function flat(members) {
  return Object.entries(members).flatMap(([name, value]) =>
    value !== null && typeof value === "object" && !Array.isArray(value) ? flat(value) : [[name, value]],
  );
}

const words = (name) => WORDS[name] ?? name.replaceAll("_", " ");

function text(value) {
  if (Array.isArray(value)) return value.map(text).join(", ") || "none";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(value) ? `${utc(value)} UTC` : String(value);
}
