// The status line: short messages at the edge of the page, read out by screen readers.
// The element is a popover, because a modal dialog would hide everything outside of it.

import { h, icon, iconButton } from "./dom.js";

const LIFETIME_MS = 6000;
let region = null;

/** Says something, politely. `look`: "ok", "warning" or "error"; errors stay until closed. */
export function toast(text, look = "ok") {
  const message = h(
    "div",
    { class: `toast ${look}`, test: "toast" },
    icon(look === "ok" ? "check" : "warning"),
    h("p", {}, text),
    iconButton("Dismiss", "close", { onClick: () => message.remove() }),
  );
  statusRegion().append(message);
  if (look !== "error") setTimeout(() => message.remove(), LIFETIME_MS);
}

/** Says something to screen readers alone. */
export function announce(text) {
  const message = h("p", { class: "visually-hidden" }, text);
  statusRegion().append(message);
  setTimeout(() => message.remove(), LIFETIME_MS);
}

/** The live region, inside of the dialog that is on top if one is open: what is outside of it is inert. */
function statusRegion() {
  region ??= h("div", { id: "status", class: "toasts", role: "status", "aria-live": "polite", test: "status" });
  const top = [...document.querySelectorAll("dialog[open]")].pop() ?? document.body;
  if (region.parentNode !== top) top.append(region);
  return region;
}

/** Moves the region out of a dialog that closes. */
export function rescueStatus(dialog) {
  if (region && dialog.contains(region)) document.body.append(region);
}
