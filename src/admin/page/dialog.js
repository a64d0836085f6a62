// Modal dialogs on the native <dialog>: focus kept inside, given back to whoever opened it.

import { fill, h, iconButton, uniqueId } from "./dom.js";
import { rescueStatus } from "./toast.js";

const open = new Set();
const REACHED = "a, button, input, select, textarea, [tabindex]";

/** Closes every dialog, without questions: the operator has logged out. */
export function closeAllDialogs() {
  [...open].reverse().forEach((close) => close());
}

/**
 * Opens a dialog. `beforeClose` may refuse to let the operator close it (it answers true when it may close); `close`
 * of the returned handle always closes. `onClosed` gets what `close` was given.
 */
export function openDialog({ title, test, wide = false, role, beforeClose, onClosed, closable = true }) {
  const opener = document.activeElement;
  const titleId = uniqueId("dialog-title");
  const heading = h("h2", { id: titleId }, title);
  const body = h("div", { class: "dialog-body" });
  const footer = h("div", { class: "dialog-footer" });
  const cross = iconButton("Close", "close", { test: "dialog-close", onClick: () => requestClose() });
  const header = h("div", { class: "dialog-header" }, heading, closable && cross);
  const element = h(
    "dialog",
    { class: wide ? "wide" : null, "aria-labelledby": titleId, role, test },
    header,
    body,
    footer,
  );
  let result;
  let allowed = false;
  // Long text without a field or button is scrolled with the keys, so the focus must be able to go there.
  const reach = () => {
    const needed = body.scrollHeight > body.clientHeight && !body.querySelector(REACHED);
    if (needed) body.tabIndex = 0;
    else body.removeAttribute("tabindex");
  };
  const sizes = new ResizeObserver(reach);

  async function requestClose() {
    if (!closable) return;
    if (!beforeClose || (await beforeClose())) close();
  }
  function close(value) {
    if (allowed) return;
    allowed = true;
    open.delete(close);
    result = value;
    element.close();
  }
  element.addEventListener("cancel", (event) => {
    if (event.target !== element) return;
    event.preventDefault();
    requestClose();
  });
  // A browser may insist on closing at a second Escape; what must not be lost is opened again.
  element.addEventListener("close", (event) => {
    if (event.target !== element) return;
    if (!allowed) {
      element.showModal();
      requestClose();
      return;
    }
    sizes.disconnect();
    rescueStatus(element);
    element.remove();
    giveFocusBack(opener);
    onClosed?.(result);
  });
  document.body.append(element);
  element.showModal();
  sizes.observe(body);
  open.add(close);
  return {
    element,
    close,
    requestClose,
    setTitle: (text) => fill(heading, text),
    setBody: (...children) => {
      fill(body, ...children);
      reach();
    },
    setFooter: (...children) => fill(footer, ...children),
    focus: () =>
      (element.querySelector("[autofocus]") ?? element.querySelector(".dialog-footer button") ?? cross).focus(),
  };
}

function giveFocusBack(opener) {
  if (opener?.isConnected && opener !== document.body) opener.focus({ preventScroll: true });
  else document.querySelector("dialog[open] h2, #main h1")?.focus({ preventScroll: true });
}
