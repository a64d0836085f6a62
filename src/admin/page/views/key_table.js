// The table of API keys. Rows are kept and changed in place, so that focus, selection and scroll stay where they are.

import { button, fill, h, icon, iconButton, setText } from "../dom.js";
import { relative, utc } from "../format.js";
import { menuButton } from "../menu.js";
import { isAdmin } from "../session.js";
import { makeRow, makeTable, skeleton } from "../table.js";
import { keyActions } from "./key_actions.js";
import { showDetails } from "./key_details.js";
import { stateBadges } from "./key_state.js";

const FRESH_MS = 2500;

export function makeKeyTable({ onSort, onChanged }) {
  const columns = [
    { label: "Name / Desc", sort: "name", class: "col-name" },
    { label: "Role", sort: "role", class: "col-role" },
    { label: "State", class: "col-state" },
    { label: "Last Login", sort: "last_login", class: "col-time" },
    { hiddenLabel: "Actions", class: "col-menu" },
  ];
  const table = makeTable({ caption: "API keys. Times are UTC.", columns, test: "keys", onSort });
  let rows = new Map();

  function show(keys) {
    const next = new Map();
    for (const key of keys) {
      const row = rows.get(key.id) ?? makeKeyRow(columns, onChanged);
      row.update(key);
      next.set(key.id, row);
    }
    const wanted = [...next.values()].map((row) => row.element);
    const same =
      wanted.length === table.body.children.length && wanted.every((row, at) => row === table.body.children[at]);
    if (!same) keepingFocus(() => table.body.replaceChildren(...wanted));
    rows = next;
  }
  /** Moving a row takes the focus out of it; if it is gone, the row that took its place gets it. */
  function keepingFocus(change) {
    const focused = document.activeElement;
    const at = [...table.body.children].findIndex((row) => row.contains(focused));
    change();
    if (at < 0) return;
    const rest = table.body.children;
    const next = focused.isConnected ? focused : rest[Math.min(at, rest.length - 1)]?.querySelector("button");
    (next ?? document.querySelector("#main h1"))?.focus({ preventScroll: true });
  }
  function patch(keys) {
    for (const key of keys) rows.get(key.id)?.update(key);
  }
  const isInUse = () => table.body.matches(":hover, :focus-within");
  return { ...table, show, patch, isInUse, showLoading: () => skeleton(table) };
}

function makeKeyRow(columns, onChanged) {
  let key = null;
  const open = button("", { class: "row-name", test: "row-name", onClick: () => showDetails(key.id) });
  const description = h("p", { class: "row-desc", test: "row-desc" });
  const marks = h("p", { class: "row-marks" });
  const role = h("span", { class: "badge role" });
  const states = h("div", { class: "badges", test: "row-state" });
  const time = h("time", { test: "last-login" });
  const trigger = iconButton("Actions", "more", { test: "row-menu" });
  const menu = menuButton(trigger, () => keyActions(key, onChanged), { label: "Actions" });
  const element = makeRow(columns, [[open, description, marks], role, states, time, menu], { test: "row" });

  function update(next) {
    const before = key;
    key = next;
    element.dataset.id = key.id;
    element.classList.toggle("is-off", key.state !== "active" || key.expired);
    setText(open, key.name);
    setText(description, key.description ?? "");
    description.hidden = !key.description;
    setText(role, key.role);
    role.classList.toggle("is-admin", key.role === "ADMIN");
    setText(time, utc(key.last_login));
    time.classList.toggle("is-never", !key.last_login);
    time.title = relative(key.last_login);
    if (key.last_login) time.dateTime = key.last_login;
    trigger.setAttribute("aria-label", `Actions for ${key.name}`);
    menu.hidden = !isAdmin() || key.state === "deleted";
    const facts = [key.state, key.expired, key.expires_at, key.stale_version].join();
    if (element.dataset.facts !== facts) drawStates(facts);
    if (before && before.last_login !== key.last_login) flash();
  }
  function drawStates(facts) {
    element.dataset.facts = facts;
    fill(states, stateBadges(key));
    fill(marks, key.stale_version && staleMark(key));
    marks.hidden = !key.stale_version;
  }
  function flash() {
    time.classList.add("is-fresh");
    setTimeout(() => time.classList.remove("is-fresh"), FRESH_MS);
  }
  return { element, update };
}

const staleMark = (key) =>
  h("span", { class: "mark", test: "row-stale" }, icon("warning"), `still sends secret version ${key.stale_version}`);
