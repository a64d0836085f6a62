// Tables that stay tables for screen readers when they become cards on narrow screens (hence the explicit roles).

import { fill, h, icon } from "./dom.js";

/** `columns`: `[{label, sort?, narrow?}]`; a column without a visible label has `hiddenLabel`. */
export function makeTable({ caption, columns, test, onSort }) {
  const heads = columns.map((column) => {
    const content = column.sort
      ? h(
          "button",
          { type: "button", class: "sort", test: `sort-${column.sort}`, on: { click: () => onSort(column.sort) } },
          column.label,
          icon("sort"),
        )
      : column.hiddenLabel
        ? h("span", { class: "visually-hidden" }, column.hiddenLabel)
        : column.label;
    return h(
      "th",
      { role: "columnheader", scope: "col", class: column.class, "aria-sort": column.sort ? "none" : null },
      content,
    );
  });
  const body = h("tbody", { role: "rowgroup" });
  const element = h(
    "table",
    { role: "table", test },
    h("caption", { class: "visually-hidden" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads)),
    body,
  );
  /** Marks the column that is sorted by. */
  function markSort(sort, descending) {
    columns.forEach((column, at) => {
      if (!column.sort) return;
      const is = column.sort === sort;
      heads[at].setAttribute("aria-sort", is ? (descending ? "descending" : "ascending") : "none");
      heads[at].querySelector(".icon").replaceWith(icon(is ? (descending ? "down" : "up") : "sort"));
    });
  }
  return { element, body, columns, markSort };
}

/** A row; the first cell names it. `cells` in the order of the columns. */
export function makeRow(columns, cells, props = {}) {
  return h(
    "tr",
    { role: "row", ...props },
    cells.map((content, at) => {
      const { label, class: style } = columns[at];
      const first = at === 0;
      return h(
        first ? "th" : "td",
        { role: first ? "rowheader" : "cell", scope: first ? "row" : null, class: style, "data-label": label },
        content,
      );
    }),
  );
}

/** Rows that only show that something comes. */
export function skeleton(table, rows = 8) {
  table.element.setAttribute("aria-busy", "true");
  const row = () =>
    h(
      "tr",
      { class: "skeleton", "aria-hidden": "true" },
      table.columns.map((column) => h("td", { class: column.class }, h("span", { class: "bone" }))),
    );
  fill(table.body, Array.from({ length: rows }, row));
}

/** What stands where a list would be: nothing there, nothing found, or an error. */
export function emptyState({ symbol, title, text, action, test, isError = false }) {
  return h(
    "div",
    { class: isError ? "empty is-error" : "empty", test, role: isError ? "alert" : null },
    h("span", { class: "empty-icon" }, icon(symbol)),
    h("h2", {}, title),
    h("p", {}, text),
    action,
  );
}

/** A small word with a colour; the word says it all. */
export function badge(text, look = "") {
  return h("span", { class: `badge ${look}` }, text);
}
