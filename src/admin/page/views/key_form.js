// ADD API KEY, and editing one. What is typed is kept as a draft until it is saved or cancelled.

import { FIRST_WAIT, get, patch, post } from "../api.js";
import { button, h } from "../dom.js";
import { openDialog } from "../dialog.js";
import { dropDraft, readDraft, saveDraft } from "../draft.js";
import { control, field, formAlert, list, onSubmit, select, setFieldError, showError } from "../form.js";
import { fromField, toField, utc } from "../format.js";
import { notice } from "../confirm.js";
import { tellRevocation } from "../revocation.js";
import { toast } from "../toast.js";
import { showIssued } from "./issued.js";

const NEW = { name: "", description: "", role: "", expires_at: null, allowed_networks: null, allowed_routes: null };

/** Makes a key. Answers whether one was made. */
export async function addKey() {
  let lost = false;
  const issued = await keyDialog({
    title: "Add API key",
    test: "key-dialog",
    draft: "add-key",
    key: NEW,
    send: async (values) => {
      try {
        return await post("api-keys", given(values));
      } catch (error) {
        if (error.name === "name-taken" && lost) error.fields = [{ field: "name", detail: LOST_ATTEMPT }];
        lost ||= error.name === "connection-lost";
        throw error;
      }
    },
  });
  if (issued) await showIssued(issued, `“${issued.name}” is ready`);
  return Boolean(issued);
}

const LOST_ATTEMPT =
  "This name is taken, perhaps by the attempt whose answer was lost. Then nobody has seen its key: roll or delete it.";

/** Changes a key. Sends only what was changed, and only onto the revision that was shown. */
export async function editKey({ id }) {
  let key;
  try {
    key = await get(`api-keys/${id}`);
  } catch (error) {
    toast(error.message, "error");
    return false;
  }
  const saved = await keyDialog({
    title: `Edit “${key.name}”`,
    test: "key-dialog",
    draft: `edit-${id}`,
    key,
    send: async (values, dialog) => {
      const changes = Object.fromEntries(Object.entries(values).filter(([name, value]) => !equal(value, key[name])));
      if (Object.keys(changes).length === 0) return key;
      try {
        const answer = await patch(`api-keys/${id}`, changes, { revision: key.revision, query: FIRST_WAIT });
        return tellRevocation(`“${answer.name}” is saved`, answer.revocation, (view) => stay(dialog, answer, view))
          ? answer
          : undefined;
      } catch (error) {
        if (error.name === "changed") {
          key = await get(`api-keys/${id}`);
          error.message =
            `Somebody else has changed this key meanwhile (${utc(key.updated_at)} UTC). What you typed is kept: ` +
            "SAVE applies it onto their change, CANCEL leaves theirs.";
        }
        throw error;
      }
    },
  });
  return Boolean(saved);
}

function stay(dialog, answer, view) {
  dialog.setTitle(`“${answer.name}” is saved`);
  dialog.setBody(view.element);
  dialog.setFooter(button("Done", { look: "primary", test: "done", onClick: () => dialog.close(answer) }));
}

const equal = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);
const given = (values) =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null && value !== ""));

/** The dialog with the form. Resolves with what `send` answered; `send` answers undefined to keep it open. */
function keyDialog({ title, test, draft, key, send }) {
  return new Promise((resolve) => {
    const dialog = openDialog({ title, test, onClosed: resolve });
    const save = h("button", { type: "submit", form: "key-form", class: "button primary", test: "save" }, "SAVE");
    const form = keyForm(key);
    const before = readDraft(draft);
    if (before) restore(form, before);
    form.addEventListener("input", () => saveDraft(draft, raw(form)));
    onSubmit(form, save, async () => {
      if (!check(form)) return;
      const answer = await send(values(form, key), dialog);
      dropDraft(draft);
      if (answer) dialog.close(answer);
    });
    const cancel = () => {
      dropDraft(draft);
      dialog.close();
    };
    dialog.setBody(before && draftNotice(form, key, draft), form);
    dialog.setFooter(
      h("p", { class: "required" }, "* required"),
      button("CANCEL", { test: "cancel", onClick: cancel }),
      save,
    );
    control(form, "name").focus();
  });
}

function keyForm(key) {
  const limited = Boolean(key.expires_at || key.allowed_networks || key.allowed_routes);
  const role = select(
    [
      ["", "Choose a role"],
      ["READONLY", "READONLY: may read"],
      ["ADMIN", "ADMIN: may read and change"],
    ],
    { value: key.role, required: true, test: "role" },
  );
  const lines = (items) => (items ?? []).join("\n");
  return h(
    "form",
    { id: "key-form" },
    formAlert(),
    field(
      "name",
      "Application Name*",
      h("input", {
        type: "text",
        value: key.name,
        required: true,
        maxlength: "128",
        autocomplete: "off",
        autofocus: true,
        test: "name",
      }),
    ),
    field(
      "description",
      "Description",
      h("input", { type: "text", value: key.description ?? "", autocomplete: "off", test: "description" }),
    ),
    field("role", "Role*", role, {
      hint: "READONLY may GET, HEAD, OPTIONS and QUERY; routes can have rules of their own.",
    }),
    h(
      "details",
      { class: "more", open: limited, test: "limits" },
      h("summary", {}, "Expiry, networks and routes"),
      field(
        "expires_at",
        "Expires at (UTC)",
        h("input", { type: "datetime-local", value: toField(key.expires_at), test: "expires-at" }),
        { hint: "Empty: never." },
      ),
      field(
        "allowed_networks",
        "Allowed networks",
        h("textarea", {
          rows: "2",
          value: lines(key.allowed_networks),
          placeholder: "10.0.0.0/8\n2001:db8::/32",
          spellcheck: "false",
          test: "networks",
        }),
        { hint: "One a line. Empty: from everywhere." },
      ),
      field(
        "allowed_routes",
        "Allowed routes",
        h("textarea", { rows: "2", value: lines(key.allowed_routes), spellcheck: "false", test: "routes" }),
        { hint: "One a line, as in the configuration. Empty: all." },
      ),
    ),
  );
}

function draftNotice(form, key, draft) {
  const box = notice(
    "info",
    h("p", {}, "What you had typed before is here again. "),
    button("Start afresh", {
      look: "quiet",
      test: "drop-draft",
      onClick: () => {
        dropDraft(draft);
        restore(form, raw(keyForm(key)));
        box.remove();
        control(form, "name").focus();
      },
    }),
  );
  return box;
}

const raw = (form) =>
  Object.fromEntries([...form.elements].filter((one) => one.name).map((one) => [one.name, one.value]));

function restore(form, before) {
  for (const [name, value] of Object.entries(before)) {
    const one = control(form, name);
    if (one) one.value = value;
  }
  if (before.expires_at || before.allowed_networks || before.allowed_routes) form.querySelector("details").open = true;
}

function values(form, key) {
  const typed = raw(form);
  // The field has no seconds: a time that was not touched keeps its own.
  const expires = typed.expires_at === toField(key.expires_at) ? key.expires_at : fromField(typed.expires_at);
  return {
    name: typed.name.trim(),
    description: typed.description.trim(),
    role: typed.role,
    expires_at: expires ?? null,
    allowed_networks: list(typed.allowed_networks),
    allowed_routes: list(typed.allowed_routes),
  };
}

function check(form) {
  const typed = raw(form);
  const missing = [
    !typed.name.trim() && ["name", "Give it a name."],
    !typed.role && ["role", "Choose a role."],
    form.elements.namedItem("expires_at").validity.badInput && ["expires_at", "This is no complete date and time."],
  ].filter(Boolean);
  missing.forEach(([name, message]) => setFieldError(form, name, message));
  if (missing.length) showError(form, { fields: [] });
  return missing.length === 0;
}
