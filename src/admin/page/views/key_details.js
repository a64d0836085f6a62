// Everything that is known of one API key, for reading.

import { get } from "../api.js";
import { button, fill, h } from "../dom.js";
import { openDialog } from "../dialog.js";
import { notice } from "../confirm.js";
import { relative, utc } from "../format.js";
import { stateBadges } from "./key_state.js";

export async function showDetails(id) {
  const dialog = openDialog({ title: "API key", test: "details-dialog" });
  dialog.setFooter(button("Close", { test: "close", autofocus: true, onClick: () => dialog.close() }));
  dialog.setBody(h("p", { class: "loading" }, h("span", { class: "spinner" }), "Loading"));
  dialog.focus();
  try {
    const key = await get(`api-keys/${encodeURIComponent(id)}`);
    dialog.setTitle(key.name);
    dialog.setBody(key.description && h("p", {}, key.description), facts(key), key.stale_version && stale(key));
  } catch (error) {
    dialog.setBody(notice("error", h("p", {}, error.message)));
  }
}

function facts(key) {
  const time = (at) => [utc(at), at && h("small", {}, ` UTC, ${relative(at)}`)];
  const rows = [
    ["Id", h("code", {}, key.id)],
    ["Role", key.role],
    ["State", h("span", { class: "badges" }, stateBadges(key))],
    ["Last login", time(key.last_login)],
    key.last_address && ["From", h("code", {}, key.last_address)],
    ["Requests", (key.use_count ?? 0).toLocaleString("en")],
    ["Created", time(key.created_at)],
    ["Changed", [time(key.updated_at), h("small", {}, `, revision ${key.revision}`)]],
    ["Expires", time(key.expires_at)],
    ["Networks", (key.allowed_networks ?? ["all"]).join(", ")],
    ["Routes", (key.allowed_routes ?? ["all"]).join(", ")],
  ];
  return fill(
    h("dl", { class: "facts" }),
    rows.filter(Boolean).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
  );
}

const stale = (key) =>
  notice(
    "warning",
    h(
      "p",
      {},
      `It still sends a key encoded with shared secret version ${key.stale_version}`,
      key.stale_seen_at ? ` (last at ${utc(key.stale_seen_at)} UTC). ` : ". ",
      "Encode it anew with the current shared secret.",
    ),
  );
