// Nodes: the gateway's processes, their leases, and how far each follows the store. Refreshes by itself.

import { get } from "../api.js";
import { button, fill, h, setText, showOnly } from "../dom.js";
import { count, duration, relative, utc } from "../format.js";
import { poll } from "../poll.js";
import { badge, emptyState, makeRow, makeTable, skeleton } from "../table.js";

const REFRESH_MS = 2000;
const COLUMNS = [
  { label: "Node", class: "col-name" },
  { label: "State" },
  { label: "Lease", class: "col-time" },
  { label: "Applied" },
  { label: "Behind" },
  { label: "Joined (UTC)", class: "col-time" },
  { label: "Seen (UTC)", class: "col-time" },
];

export function mountNodes(main) {
  const summary = h("p", { class: "summary" });
  const place = h("div", { class: "list" });
  const table = makeTable({ caption: "Nodes. Times are UTC.", columns: COLUMNS, test: "nodes" });
  fill(main, h("div", { class: "view-head" }, h("div", {}, h("h1", { tabindex: "-1" }, "Nodes"), summary)), place);
  skeleton(table, 3);
  fill(place, table.element);

  function draw({ revision, nodes }) {
    const living = nodes.filter((node) => !node.gone).length;
    setText(summary, `${count(living, "node")} running · revision ${revision.toLocaleString("en")}`);
    table.element.removeAttribute("aria-busy");
    fill(table.body, nodes.map(row));
    showOnly(
      place,
      nodes.length > 0
        ? table.element
        : emptyState({
            symbol: "node",
            title: "No node is running",
            text: "Keys can be managed all the same; gateways take them up when they start.",
            test: "no-nodes",
          }),
    );
  }
  async function load(options) {
    try {
      draw(await get("nodes", {}, options));
    } catch (error) {
      showOnly(
        place,
        emptyState({
          symbol: "warning",
          title: "The nodes could not be loaded",
          text: error.message,
          isError: true,
          test: "list-error",
          action: button("Try again", { look: "primary", symbol: "refresh", test: "retry", onClick: () => load() }),
        }),
      );
    }
  }
  load();
  const stop = poll(load, REFRESH_MS);
  return { unmount: stop };
}

function row(node) {
  const name = [h("code", { class: "row-name" }, node.id), h("p", { class: "row-desc" }, `version ${node.version}`)];
  const state = node.gone
    ? badge("Gone", "bad")
    : node.behind > 0
      ? badge("Behind", "warn")
      : badge("Up to date", "good");
  const time = (at) => h("time", { datetime: at, title: relative(at) }, utc(at));
  return makeRow(
    COLUMNS,
    [
      name,
      state,
      duration(node.lease_ms / 1000),
      String(node.applied),
      String(node.behind),
      time(node.joined_at),
      time(node.seen_at),
    ],
    { test: "node", "data-id": node.id },
  );
}
