// Secrets that are shown once, each with its Copy button. The dialog does not close, and the tab does not, without a
// question while nothing was copied. The values live in this dialog alone.

import { button, h } from "./dom.js";
import { copyButton } from "./clipboard.js";
import { confirm, consequences, notice } from "./confirm.js";
import { openDialog } from "./dialog.js";

/** `secrets`: `[{label, value, hint, test, copyTest}]`; `more`: further elements. Resolves when it is closed. */
export function showOnce({ title, test = "issued", intro, now = "Store it now", secrets, more }) {
  return new Promise((resolve) => {
    let stored = false;
    const warnBeforeLeaving = (event) => {
      if (stored) return;
      event.preventDefault();
      event.returnValue = true;
    };
    window.addEventListener("beforeunload", warnBeforeLeaving);
    const dialog = openDialog({
      title,
      test,
      wide: true,
      beforeClose: async () => stored || (stored = await askWhetherStored()),
      onClosed: () => {
        window.removeEventListener("beforeunload", warnBeforeLeaving);
        resolve();
      },
    });
    dialog.setBody(
      intro,
      notice(
        "warning",
        h("p", {}, h("strong", {}, "Shown once."), ` ${now}: it is kept nowhere and cannot be shown again.`),
      ),
      secrets.map((secret) => secretRow(secret, () => (stored = true))),
      more,
    );
    dialog.setFooter(button("Done", { look: "primary", test: "done", onClick: dialog.requestClose }));
    dialog.element.querySelector(".secret .button")?.focus();
  });
}

function secretRow({ label, value, hint, test, copyTest }, onCopied) {
  const shown = h(
    "code",
    { class: "secret-text", tabindex: "0", role: "textbox", "aria-readonly": "true", "aria-label": label, test },
    value,
  );
  return h(
    "div",
    { class: "secret" },
    h("div", { class: "secret-label" }, h("span", {}, label), hint && h("small", {}, hint)),
    h(
      "div",
      { class: "secret-line" },
      shown,
      copyButton(label, () => value, { test: copyTest, onCopied, onFailed: () => selectAll(shown) }),
    ),
  );
}

/** The last resort where the browser does not let us copy: it is selected, Ctrl+C does the rest. */
function selectAll(element) {
  element.focus();
  getSelection().selectAllChildren(element);
}

async function askWhetherStored() {
  const answer = await confirm({
    title: "Have you stored it?",
    test: "stored-question",
    consequences: consequences(["Nothing was copied.", "What is shown here cannot be shown again."]),
    verb: "Yes, close",
    danger: false,
    act: async () => true,
  });
  return answer === true;
}
