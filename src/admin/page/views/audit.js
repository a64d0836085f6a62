// Audit: who did what, when and from where; with filters, page by page, the newest first.

import { get, isAbort } from "../api.js";
import { button, fill, h, icon, showOnly } from "../dom.js";
import { filtersToggle, select } from "../form.js";
import { fromField, relative, utc } from "../format.js";
import { makePager } from "../pager.js";
import { isAdmin } from "../session.js";
import { emptyState, makeRow, makeTable, skeleton } from "../table.js";
import { detailLines } from "./audit_detail.js";
import { showDetails } from "./key_details.js";

const TYPING_MS = 250;
/** Longer addresses may break into lines. */
const IPV4 = 15;
const COLUMNS = [
  { label: "Time (UTC)", class: "col-time" },
  { label: "Who" },
  { label: "Action" },
  { label: "Subject" },
  { label: "Detail", class: "col-wide" },
];
const ACTIONS = [
  ["", "All actions"],
  ["api_key", "API keys"],
  ["api_key.create", "API key created"],
  ["api_key.update", "API key updated"],
  ["api_key.roll", "API key rolled"],
  ["api_key.disable", "API key disabled"],
  ["api_key.enable", "API key enabled"],
  ["api_key.delete", "API key deleted"],
  ["shared_secret", "Shared secret"],
  ["shared_secret.regenerate", "Shared secret regenerated"],
  ["shared_secret.end_grace", "Grace period ended"],
  ["shared_secret.view", "Shared secret seen"],
  ["operator", "Operators"],
  ["operator.create", "Operator added"],
  ["operator.rotate", "Operator’s token renewed"],
  ["operator.delete", "Operator removed"],
  ["session", "Sessions"],
  ["session.create", "Logged in"],
  ["session.delete", "Logged out"],
  ["session.refused", "Login refused"],
  ["login_link", "Login links"],
  ["login_link.create", "Login link made"],
  ["master_key", "Master key"],
];
const SAID = new Map(ACTIONS.filter(([action]) => action.includes(".")));

export function mountAudit(main) {
  let request = new AbortController();
  let names = new Map();
  const who = h("input", {
    type: "search",
    placeholder: "Who",
    "aria-label": "Who",
    autocomplete: "off",
    spellcheck: "false",
    test: "filter-who",
  });
  const action = select(ACTIONS, { class: "filter", "aria-label": "Action", test: "filter-action" });
  const subject = h("input", {
    type: "text",
    class: "filter",
    placeholder: "Subject (id)",
    "aria-label": "Subject",
    autocomplete: "off",
    spellcheck: "false",
    test: "filter-subject",
  });
  const since = h("input", { type: "datetime-local", test: "filter-since" });
  const until = h("input", { type: "datetime-local", test: "filter-until" });
  const controls = [who, action, subject, since, until];
  const clearButton = button("Clear", { look: "quiet", symbol: "close", test: "clear", hidden: true, onClick: clear });
  const filters = h(
    "form",
    { class: "filters", role: "search", "aria-label": "Audit", on: { submit: (event) => event.preventDefault() } },
    h("div", { class: "search" }, icon("search"), who),
    filtersToggle(() => filters),
    action,
    subject,
    h("span", { class: "break filter" }),
    h("label", { class: "inline filter" }, "From", since),
    h("label", { class: "inline filter" }, "until", until),
    h("span", { class: "hint filter" }, "UTC"),
    clearButton,
  );
  const pager = makePager({ load, sizes: [50, 100, 200], size: 50 });
  const table = makeTable({
    caption: "Audit records, the newest first. Times are UTC.",
    columns: COLUMNS,
    test: "audit",
  });
  table.element.classList.add("audit");
  const place = h("div", { class: "list" });
  fill(
    main,
    h(
      "div",
      { class: "view-head" },
      h(
        "div",
        {},
        h("h1", { tabindex: "-1" }, "Audit"),
        h("p", { class: "summary" }, "Every change, every login, every look at the shared secret."),
      ),
      h("div", { class: "actions" }, button("Refresh", { symbol: "refresh", test: "refresh", onClick: first })),
    ),
    filters,
    place,
    pager.element,
  );

  let timer = 0;
  for (const control of controls) {
    control.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(first, control === action ? 0 : TYPING_MS);
    });
  }
  const isFiltering = () => controls.some((control) => control.value);
  function clear() {
    for (const control of controls) control.value = "";
    who.focus();
    first();
  }
  function first() {
    pager.reset();
    load();
  }
  const query = () => ({
    who: whoQuery(who.value.trim(), names),
    action: action.value,
    subject: subject.value.trim(),
    since: fromField(since.value),
    until: fromField(until.value),
    ...pager.query(),
  });

  async function load() {
    request.abort();
    request = new AbortController();
    clearButton.hidden = !isFiltering();
    if (!table.element.isConnected) {
      skeleton(table);
      fill(place, table.element);
    }
    table.element.setAttribute("aria-busy", "true");
    try {
      draw(await get("audit", query(), { signal: request.signal }));
    } catch (error) {
      if (isAbort(error)) return;
      showOnly(
        place,
        emptyState({
          symbol: "warning",
          title: "The audit could not be loaded",
          text: error.message,
          isError: true,
          test: "list-error",
          action: button("Try again", { look: "primary", symbol: "refresh", test: "retry", onClick: load }),
        }),
      );
    }
  }
  function draw(page) {
    table.element.removeAttribute("aria-busy");
    fill(
      table.body,
      page.audit.map((record) => row(record, names)),
    );
    pager.loaded(page.next_cursor, page.audit.length);
    showOnly(
      place,
      page.audit.length > 0
        ? table.element
        : emptyState({
            symbol: "search",
            title: "No record matches",
            text: "Nothing of this kind is in the audit log.",
            test: "no-match",
            action: isFiltering() && button("Clear filters", { test: "clear-filters", onClick: clear }),
          }),
    );
  }
  async function start() {
    skeleton(table);
    fill(place, table.element);
    if (isAdmin()) names = await get("operators").then(byId, () => names);
    load();
  }
  start();
  return { unmount: () => request.abort() };
}

const byId = ({ operators }) => new Map(operators.map(({ id, name }) => [`operator:${id}`, name]));

/** Records name operators by id: a name that is known is looked up. */
function whoQuery(typed, names) {
  const known = [...names].find(([, name]) => name.toLowerCase() === typed.toLowerCase());
  return known ? known[0] : typed;
}

function row(record, names) {
  const name = names.get(record.who);
  const actor = [
    name ?? h("code", { class: "whole" }, record.who),
    record.from && h("p", { class: record.from.length > IPV4 ? "row-desc" : "row-desc whole" }, `from ${record.from}`),
  ];
  return makeRow(
    COLUMNS,
    [
      h("time", { datetime: record.at, title: relative(record.at) }, utc(record.at)),
      h("div", { title: record.who }, actor),
      action(record.action),
      subject(record, names),
      // The name stands at the subject.
      detailLines(record.detail, ["name"]),
    ],
    { test: "audit-row", "data-action": record.action },
  );
}

/** An action in words, and as filters, the API and the command line call it. */
function action(name) {
  const code = h("code", { class: "whole" }, name);
  const said = SAID.get(name);
  return said ? h("div", {}, said, h("p", { class: "row-desc" }, code)) : code;
}

/** What it was done to: a key, which can be looked at; an operator; a version of the shared secret. */
function subject({ action: what, subject: id, detail }, names) {
  if (!id) return h("span", { class: "faint" }, "–");
  const kind = what.split(".")[0];
  if (kind === "shared_secret") return `Version ${id}`;
  const name = detail?.name ?? names.get(`operator:${id}`);
  const code = h("code", { class: "whole" }, id);
    const look = { look: "link", test: "audit-key", onClick: () => showDetails(id) };
  const first = kind === "api_key" ? button(name ?? id, look) : (name ?? code);
  return h("div", {}, first, name && h("p", { class: "row-desc" }, code));
}
