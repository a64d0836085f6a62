// The API Keys view: heading, buttons, filters, the table, paging; refreshes what is shown by itself.

import { get, isAbort } from "../api.js";
import { button, fill, h, icon, setText, showOnly } from "../dom.js";
import { count } from "../format.js";
import { makePager } from "../pager.js";
import { poll } from "../poll.js";
import { setParams } from "../router.js";
import { isAdmin } from "../session.js";
import { emptyState } from "../table.js";
import { addKey } from "./key_form.js";
import { makeFilters } from "./key_filters.js";
import { makeKeyTable } from "./key_table.js";
import { openSecret } from "./secret.js";

const REFRESH_MS = 5000;
const COUNTS_MS = 30_000;

export function mountKeys(main, params) {
  let shown = null;
  let failed = false;
  let told = null;
  let asked = 0;
  let request = new AbortController();

  const summary = h("p", { class: "summary", test: "summary" });
  const short = h("p", { class: "hint list-hint", role: "status", test: "short-search" });
  const changed = h(
    "p",
    { class: "notice info compact", hidden: true, test: "list-changed" },
    icon("info"),
    h("span", {}, "The list has changed."),
    button("Refresh", { symbol: "refresh", onClick: () => load() }),
  );
  const filters = makeFilters(params, () => {
    setParams(filters.params());
    pager.reset();
    load();
  });
  const pager = makePager({ load: () => load(), sizes: [50, 100, 200], size: 50 });
  const table = makeKeyTable({ onSort: filters.sortBy, onChanged: refreshAll });
  const place = h("div", { class: "list" });
  fill(
    main,
    h(
      "div",
      { class: "view-head" },
      h("div", {}, h("h1", { tabindex: "-1" }, "API Keys"), summary),
      h(
        "div",
        { class: "actions" },
        button("API SHARED SECRET", {
          symbol: "shield",
          test: "shared-secret",
          onClick: () => openSecret().then(refreshAll),
        }),
        isAdmin() && button("ADD API KEY", { look: "primary", symbol: "plus", test: "add-key", onClick: add }),
      ),
    ),
    filters.element,
    short,
    changed,
    place,
    pager.element,
  );

  async function add() {
    if (await addKey()) refreshAll();
  }
  function refreshAll() {
    told = null;
    refresh(true).catch(() => {}); // the connection line tells, and the next look shows it
  }
  /** A page of the list. One without rows that has a next one is not the end: what fits is hard to find, so on. */
  async function ask(options) {
    const query = { ...filters.query(), ...pager.query() };
    const { signal } = request;
    let page = await get("api-keys", query, { signal, ...options });
    while (page.api_keys.length === 0 && page.next_cursor) {
      page = await get("api-keys", { ...query, cursor: page.next_cursor }, { signal, ...options });
    }
    return page;
  }

  /** Another page, order or filter: what was there before stays, dimmed, until the answer comes. */
  async function load() {
    request.abort();
    request = new AbortController();
    changed.hidden = true;
    if (shown === null) {
      table.showLoading();
      fill(place, table.element);
    }
    table.element.setAttribute("aria-busy", "true");
    table.markSort(...filters.order());
    setText(short, shortSearch(filters.query().q));
    try {
      draw(await ask());
    } catch (error) {
      if (isAbort(error)) return;
      shown = null;
      failed = true;
      showOnly(
        place,
        emptyState({
          symbol: "warning",
          title: "The keys could not be loaded",
          text: error.message,
          isError: true,
          test: "list-error",
          action: button("Try again", { look: "primary", symbol: "refresh", test: "retry", onClick: () => load() }),
        }),
      );
    }
  }

  function draw(page) {
    shown = page.api_keys;
    failed = false;
    recount(shown);
    table.element.removeAttribute("aria-busy");
    table.show(shown);
    pager.loaded(page.next_cursor, shown.length);
    changed.hidden = true;
    showOnly(place, shown.length > 0 ? table.element : nothing());
  }

  /** The same page again. The rows stay where they are while somebody is among them, unless `moves`. */
  async function refresh(moves = false, options = {}) {
    if (shown === null) return moves || failed ? load() : undefined;
    const mine = request;
    const page = await ask(options);
    if (mine !== request || shown === null) return;
    const same = page.api_keys.length === shown.length && page.api_keys.every((key, at) => key.id === shown[at].id);
    if (same || moves || !table.isInUse()) return draw(page);
    table.patch(page.api_keys);
    recount(page.api_keys);
    changed.hidden = false;
  }

  /** The line above must not contradict the rows: it is told anew when they differ from those told before. */
  function recount(keys) {
    const facts = keys.map((key) => [key.id, key.state, key.expired, key.stale_version].join()).join(" ");
    if (facts === told) return;
    told = facts;
    counts().catch(() => (told = null));
  }
  async function counts(options) {
    asked += 1;
    const mine = asked;
    const { keys, previous, version } = await get("shared-secret/impact", {}, options);
    // A later question may have been answered sooner.
    if (mine < asked) return;
    const grace = previous && `version ${previous.version} in grace`;
    const parts = [
      count(keys.active, "active key"),
      keys.disabled > 0 && `${keys.disabled.toLocaleString("en")} disabled`,
      keys.stale > 0 && `${keys.stale.toLocaleString("en")} on an old secret version`,
      `shared secret version ${version}`,
      grace,
    ];
    setText(summary, parts.filter(Boolean).join(" · "));
  }

  function nothing() {
    if (filters.isFiltering()) {
      return emptyState({
        symbol: "search",
        title: "No key matches",
        text: shortSearch(filters.query().q) || "No API key fits this search and these filters.",
        test: "no-match",
        action: button("Clear filters", { test: "clear-filters", onClick: filters.clear }),
      });
    }
    return emptyState({
      symbol: "key",
      title: "No API keys yet",
      test: "empty",
      text: "Each integration gets an API key of its own, with its role, its last login and its own end.",
      action:
        isAdmin() && button("ADD API KEY", { look: "primary", symbol: "plus", test: "add-first-key", onClick: add }),
    });
  }

  load();
  const stops = [poll((options) => refresh(false, options), REFRESH_MS), poll(counts, COUNTS_MS)];
  return {
    update: (next) => {
      filters.take(next);
      pager.reset();
      load();
    },
    unmount: () => {
      request.abort();
      stops.forEach((stop) => stop());
    },
  };
}

/** One or two characters are looked for at the beginning of names alone. */
function shortSearch(text) {
  const length = [...text].length;
  if (length === 0 || length > 2) return "";
  return `Names that begin with “${text}”. Three or more characters search everywhere in names and descriptions.`;
}
