// Copy buttons. They say "Copied" only when it is true.

import { button, icon, setText } from "./dom.js";
import { announce } from "./toast.js";

const SAID_MS = 2000;

/** A button that copies what `read` gives (a string or a promise of one); `name` is what it is for. */
export function copyButton(name, read, { onCopied, onFailed, ...props } = {}) {
  const label = document.createElement("span");
  label.textContent = "Copy";
  const copy = button(label, { symbol: "copy", "aria-label": `Copy ${name}`, ...props });
  let timer = 0;
  copy.addEventListener("click", async () => {
    try {
      await writeText(read(), copy);
    } catch (error) {
      onFailed?.(error);
      if (!onFailed) say("Not copied", "warning", `${name} could not be copied. Select it and copy it by hand.`);
      return;
    }
    onCopied?.();
    say("Copied", "check", `${name} copied`);
  });
  function say(text, symbol, announcement) {
    setText(label, text);
    copy.setAttribute("aria-label", `${text}: ${name}`);
    copy.querySelector(".icon").replaceWith(icon(symbol));
    copy.classList.toggle("is-done", symbol === "check");
    announce(announcement);
    clearTimeout(timer);
    timer = setTimeout(() => {
      setText(label, "Copy");
      copy.setAttribute("aria-label", `Copy ${name}`);
      copy.querySelector(".icon").replaceWith(icon("copy"));
      copy.classList.remove("is-done");
    }, SAID_MS);
  }
  return copy;
}

/** The text may still be on its way: some browsers allow writing only while the click is being handled. */
async function writeText(pending, near) {
  if (navigator.clipboard && typeof pending !== "string" && window.ClipboardItem) {
    const text = Promise.resolve(pending);
    try {
      const blob = text.then((value) => new Blob([value], { type: "text/plain" }));
      await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
      return;
    } catch {
      return writeText(await text, near);
    }
  }
  const text = await pending;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyBySelection(text, near);
  }
}

/** Without the clipboard API, which only secure origins have. */
function copyBySelection(text, near) {
  const area = document.createElement("textarea");
  area.className = "visually-hidden";
  area.value = text;
  area.readOnly = true;
  near.after(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  near.focus();
  if (!copied) throw new Error("the browser refused to copy");
}
