// Operators, for admins: who may manage keys; adding, removing, a new token, a one-time login link.

import { get, post, remove } from "../api.js";
import { button, fill, h, iconButton, showOnly } from "../dom.js";
import { confirm, consequences } from "../confirm.js";
import { openDialog } from "../dialog.js";
import { dropDraft, readDraft, saveDraft } from "../draft.js";
import { control, field, formAlert, onSubmit, select, setFieldError, showError } from "../form.js";
import { relative, utc } from "../format.js";
import { menuButton } from "../menu.js";
import { showOnce } from "../once.js";
import { currentOperator, isAdmin } from "../session.js";
import { badge, emptyState, makeRow, makeTable, skeleton } from "../table.js";
import { toast } from "../toast.js";

const DRAFT = "add-operator";
const COLUMNS = [
  { label: "Name", class: "col-name" },
  { label: "Role" },
  { label: "Created (UTC)", class: "col-time" },
  { label: "Last login (UTC)", class: "col-time" },
  { hiddenLabel: "Actions", class: "col-menu" },
];

export function mountOperators(main) {
  const place = h("div", { class: "list" });
  const table = makeTable({ caption: "Operators. Times are UTC.", columns: COLUMNS, test: "operators" });
  fill(
    main,
    h(
      "div",
      { class: "view-head" },
      h(
        "div",
        {},
        h("h1", { tabindex: "-1" }, "Operators"),
        h("p", { class: "summary" }, "People and automations that manage keys."),
      ),
      isAdmin() &&
        h(
          "div",
          { class: "actions" },
          button("Add operator", {
            look: "primary",
            symbol: "plus",
            test: "add-operator",
            onClick: () => add().then(load),
          }),
        ),
    ),
    place,
  );
  if (!isAdmin()) {
    showOnly(
      place,
      emptyState({
        symbol: "shield",
        title: "For admins only",
        text: "A viewer sees no operators.",
        test: "forbidden",
      }),
    );
    return {};
  }
  skeleton(table, 3);
  fill(place, table.element);

  async function load() {
    try {
      const { operators } = await get("operators");
      table.element.removeAttribute("aria-busy");
      keepingFocus(table.body, () =>
        fill(
          table.body,
          operators.map((operator) => row(operator, load)),
        ),
      );
      showOnly(place, table.element);
    } catch (error) {
      showOnly(
        place,
        emptyState({
          symbol: "warning",
          title: "The operators could not be loaded",
          text: error.message,
          isError: true,
          test: "list-error",
          action: button("Try again", { look: "primary", symbol: "refresh", test: "retry", onClick: load }),
        }),
      );
    }
  }
  load();
  return {};
}

/** The rows are made anew: the focus stays at the same operator, or goes to the heading when that one is gone. */
function keepingFocus(body, change) {
  const focused = document.activeElement.closest("[data-id]");
  const id = body.contains(focused) && focused.dataset.id;
  change();
  if (!id) return;
  const again = [...body.children].find((one) => one.dataset.id === id);
  (again?.querySelector("button") ?? document.querySelector("#main h1"))?.focus({ preventScroll: true });
}

function row(operator, changed) {
  const self = operator.id === currentOperator()?.id;
  const name = [
    h("span", { class: "row-name" }, operator.name),
    self && badge("you"),
    h("p", { class: "row-desc" }, h("code", {}, operator.id)),
  ];
  const time = (at) => h("time", { datetime: at, title: relative(at) }, utc(at));
  const trigger = iconButton(`Actions for ${operator.name}`, "more", { test: "operator-menu" });
  const then = (action) => () => action(operator, self).then(changed);
  const menu = menuButton(
    trigger,
    () => [
      { label: "Login link", symbol: "link", test: "menu-login-link", action: then(loginLink) },
      { label: "New token", symbol: "refresh", test: "menu-rotate", action: then(rotate) },
      { label: "Remove", symbol: "trash", danger: true, test: "menu-remove", action: then(removeOperator) },
    ],
    { label: "Actions" },
  );
  return makeRow(
    COLUMNS,
    [
      name,
      badge(operator.role, operator.role === "admin" ? "role is-admin" : "role"),
      time(operator.created_at),
      time(operator.last_login),
      menu,
    ],
    { test: "operator", "data-id": operator.id },
  );
}

async function add() {
  const made = await addDialog();
  if (made) await showToken(made.token, `Operator “${made.name ?? made.operator?.name}” is added`);
}

function addDialog() {
  return new Promise((resolve) => {
    const dialog = openDialog({ title: "Add operator", test: "operator-dialog", onClosed: resolve });
    const before = readDraft(DRAFT);
    const name = h("input", {
      type: "text",
      maxlength: "128",
      autocomplete: "off",
      autofocus: true,
      value: before?.name,
      test: "operator-name",
    });
    const role = select(
      [
        ["viewer", "viewer: sees keys, changes nothing"],
        ["admin", "admin: may do everything"],
      ],
      { value: before?.role ?? "viewer", test: "operator-role" },
    );
    const save = h("button", { type: "submit", form: "operator-form", class: "button primary", test: "save" }, "SAVE");
    const form = h(
      "form",
      { id: "operator-form" },
      formAlert(),
      field("name", "Name*", name),
      field("role", "Role*", role),
    );
    form.addEventListener("input", () => saveDraft(DRAFT, { name: name.value, role: role.value }));
    onSubmit(form, save, async () => {
      if (!name.value.trim()) {
        setFieldError(form, "name", "Give it a name.");
        return showError(form, { fields: [] });
      }
      const typed = name.value.trim();
      const answer = await post("operators", { name: typed, role: role.value });
      dropDraft(DRAFT);
      dialog.close({ name: typed, ...answer });
    });
    dialog.setBody(form);
    dialog.setFooter(
      h("p", { class: "required" }, "* required"),
      button("CANCEL", {
        test: "cancel",
        onClick: () => {
          dropDraft(DRAFT);
          dialog.close();
        },
      }),
      save,
    );
    control(form, "name").focus();
  });
}

const showToken = (token, title) =>
  showOnce({
    title,
    test: "token-dialog",
    intro: h(
      "p",
      {},
      "Logs in on this page, and works as ",
      h("code", {}, "Authorization: Bearer …"),
      " with the REST API.",
    ),
    secrets: [{ label: "Operator token", value: token, test: "operator-token", copyTest: "copy-operator-token" }],
  });

async function rotate(operator, self) {
  let answer;
  await confirm({
    title: `New token for “${operator.name}”?`,
    test: "rotate-dialog",
    consequences: consequences([
      "The present token stops working, and every session of it ends.",
      "The new token is shown once.",
      self && "This is you: you will have to log in again with the new token.",
    ]),
    verb: "Make a new token",
    act: async () => {
      answer = await post(`operators/${operator.id}/rotate`);
    },
  });
  if (answer) await showToken(answer.token, `New token for “${operator.name}”`);
}

async function removeOperator(operator, self) {
  await confirm({
    title: `Remove “${operator.name}”?`,
    test: "remove-dialog",
    consequences: consequences([
      "The token stops working, and every session and login link of it ends.",
      "API keys that were made with it stay; so does the audit.",
      self && "This is you: you will be logged out.",
    ]),
    word: operator.name,
    verb: "Remove this operator",
    act: async () => {
      await remove(`operators/${operator.id}`);
      toast(`Operator “${operator.name}” is removed.`);
    },
  });
}

async function loginLink(operator) {
  try {
    const link = await post(`operators/${operator.id}/login-link`);
    await showOnce({
      title: `Login link for “${operator.name}”`,
      test: "link-dialog",
      intro: h("p", {}, `Logs in once, until ${utc(link.expires_at)} UTC. Whoever has it is “${operator.name}”.`),
      now: "Pass it on now",
      secrets: [{ label: "Login link", value: link.url, test: "login-link", copyTest: "copy-login-link" }],
    });
  } catch (error) {
    toast(error.message, "error");
  }
}
