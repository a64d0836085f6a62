// What can be done with one API key: the entries of its menu, and the questions before each.

import { FIRST_WAIT, post, remove } from "../api.js";
import { button, h } from "../dom.js";
import { STAY, confirm, consequences } from "../confirm.js";
import { tellRevocation } from "../revocation.js";
import { toast } from "../toast.js";
import { showIssued } from "./issued.js";
import { editKey } from "./key_form.js";

/** The menu of a key; `onChanged` is called when it was changed. */
export function keyActions(key, onChanged) {
  const after = (action) => async () => {
    if (await action(key)) onChanged();
  };
  return [
    { label: "Edit", symbol: "edit", test: "menu-edit", action: after(editKey) },
    { label: "Roll", symbol: "refresh", test: "menu-roll", action: after(roll) },
    key.state === "disabled"
      ? { label: "Enable", symbol: "play", test: "menu-enable", action: after(enable) }
      : { label: "Disable", symbol: "pause", test: "menu-disable", action: after(disable) },
    { label: "Delete", symbol: "trash", test: "menu-delete", danger: true, action: after(deleteKey) },
  ];
}

const path = (key, action) => `api-keys/${encodeURIComponent(key.id)}${action ? `/${action}` : ""}`;
const strong = (text) => h("strong", {}, text);

/** Runs a revoking request; the dialog stays open while nodes are waited for. */
async function revoke(dialog, done, send) {
  const answer = await send();
  const revocation = answer.revocation === undefined ? answer : answer.revocation;
  const stay = (view) => {
    dialog.setTitle(done);
    dialog.setBody(view.element);
    dialog.setFooter(button("Done", { look: "primary", test: "done", onClick: () => dialog.close(true) }));
  };
  return tellRevocation(done, revocation, stay) ? answer : STAY;
}

function disable(key) {
  return confirm({
    title: `Disable “${key.name}”?`,
    test: "disable-dialog",
    consequences: consequences([
      "Its requests are refused with 401 from now on, on every node.",
      "Requests that were let in before go on to their end.",
      "Nothing is lost: Enable makes the same encoded key work again.",
    ]),
    verb: "Disable",
    act: (dialog) =>
      revoke(dialog, `“${key.name}” is disabled`, () => post(path(key, "disable"), undefined, { query: FIRST_WAIT })),
  });
}

async function enable(key) {
  try {
    await post(path(key, "enable"));
    toast(`“${key.name}” is enabled. Its encoded key works again.`);
  } catch (error) {
    toast(error.message, "error");
  }
  return true;
}

function deleteKey(key) {
  return confirm({
    title: `Delete “${key.name}”?`,
    test: "delete-dialog",
    consequences: consequences([
      "Its requests are refused with 401 from now on, on every node.",
      "Its app key is erased. This cannot be undone; the name becomes free.",
      key.last_login ? ["Last login: ", strong(lastUse(key)), "."] : "It has never been used.",
    ]),
    word: key.name,
    verb: "Delete this key",
    act: (dialog) => revoke(dialog, `“${key.name}” is deleted`, () => remove(path(key), { query: FIRST_WAIT })),
  });
}

const lastUse = (key) => `${key.last_login.slice(0, 19).replace("T", " ")} UTC`;

async function roll(key) {
  let issued = null;
  await confirm({
    title: `Roll “${key.name}”?`,
    test: "roll-dialog",
    consequences: consequences([
      "It gets a new app key and a new encoded key, which are shown once.",
      "Its present ones stop working at once, on every node.",
      "Id, name, role, policy and history stay.",
    ]),
    word: key.name,
    verb: "Roll this key",
    act: async () => {
      issued = await post(path(key, "roll"), undefined, { query: FIRST_WAIT });
    },
  });
  if (issued) await showIssued(issued, `New key for “${issued.name}”`, { withRevocation: true });
  return Boolean(issued);
}
