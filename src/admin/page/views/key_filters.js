// Search, filters and order of the API Keys view, and how they stand in the address.

import { button, h, icon } from "../dom.js";
import { filtersToggle, select } from "../form.js";

const TYPING_MS = 250;
const NAMES = ["q", "role", "state", "unused", "stale", "sort"];
const ORDERS = [
  ["name", "Name, A to Z"],
  ["-name", "Name, Z to A"],
  ["-last_login", "Last login, newest"],
  ["last_login", "Last login, oldest"],
  ["-created_at", "Created, newest"],
  ["created_at", "Created, oldest"],
  ["role", "Role, A to Z"],
  ["-role", "Role, Z to A"],
];

/** `changed` is called when something was chosen, or typing has come to rest. */
export function makeFilters(params, changed) {
  const q = h("input", {
    type: "search",
    placeholder: "Search name or description",
    "aria-label": "Search",
    "aria-keyshortcuts": "/",
    autocomplete: "off",
    spellcheck: "false",
    test: "search",
  });
  const role = select(
    [
      ["", "All roles"],
      ["READONLY", "READONLY"],
      ["ADMIN", "ADMIN"],
    ],
    { class: "filter", "aria-label": "Role", test: "filter-role" },
  );
  const state = select(
    [
      ["", "All states"],
      ["active", "Active"],
      ["disabled", "Disabled"],
      ["deleted", "Deleted"],
    ],
    { class: "filter", "aria-label": "State", test: "filter-state" },
  );
  const unused = h("input", {
    type: "number",
    min: "1",
    max: "3650",
    step: "1",
    inputmode: "numeric",
    placeholder: "N",
    "aria-label": "Unused for N days",
    test: "filter-unused",
  });
  const stale = h("input", { type: "checkbox", test: "filter-stale" });
  const sort = select(ORDERS, { class: "filter", "aria-label": "Order", test: "sort" });
  const clearButton = button("Clear", { look: "quiet", symbol: "close", test: "clear", onClick: () => clear() });
  const element = h(
    "form",
    { class: "filters", role: "search", "aria-label": "API keys", on: { submit: (event) => event.preventDefault() } },
    h("div", { class: "search" }, icon("search"), q, h("kbd", { "aria-hidden": "true" }, "/")),
    filtersToggle(() => element),
    sort,
    h("span", { class: "break filter" }),
    role,
    state,
    h("label", { class: "inline unused filter" }, "Unused for", unused, "days"),
    h("label", { class: "inline filter" }, stale, "Still sends an old secret version"),
    clearButton,
  );

  let timer = 0;
  const now = () => {
    clearTimeout(timer);
    clearButton.hidden = !isFiltering();
    changed();
  };
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(now, TYPING_MS);
  };
  q.addEventListener("input", later);
  unused.addEventListener("input", later);
  for (const control of [role, state, stale, sort]) control.addEventListener("change", now);

  const days = () => (unused.validity.valid && Number(unused.value) >= 1 ? String(Number(unused.value)) : "");
  const values = () => ({
    q: q.value.trim(),
    role: role.value,
    state: state.value,
    unused: days(),
    stale: stale.checked ? "true" : "",
    sort: sort.value === "name" ? "" : sort.value,
  });
  function take(given) {
    const value = Object.fromEntries(NAMES.map((name) => [name, given.get?.(name) ?? ""]));
    q.value = value.q;
    role.value = value.role;
    state.value = value.state;
    unused.value = value.unused;
    stale.checked = value.stale === "true";
    sort.value = value.sort || "name";
    for (const control of [role, state]) if (control.selectedIndex < 0) control.value = "";
    if (sort.selectedIndex < 0) sort.value = "name";
    clearButton.hidden = !isFiltering();
  }
  function isFiltering() {
    return Object.entries(values()).some(([name, value]) => name !== "sort" && value);
  }
  function clear() {
    const order = sort.value;
    take(new URLSearchParams({ sort: order }));
    q.focus();
    now();
  }
  /** A column's header was pressed: by it, or the other way round. Times begin with the newest. */
  function sortBy(column) {
    const [active, descending] = order();
    const down = active === column ? !descending : column === "last_login";
    sort.value = `${down ? "-" : ""}${column}`;
    now();
  }
  const order = () => [sort.value.replace("-", ""), sort.value.startsWith("-")];
  take(params);

  const query = () => {
    const { unused: unusedDays, ...rest } = values();
    return { ...rest, unused_for: unusedDays && `${unusedDays}d`, sort: sort.value };
  };
  return { element, query, params: values, take, order, sortBy, clear, isFiltering };
}
