// Logging in: with a token that is pasted, or with the one in the address; and again, above what is open, when the
// session has ended.

import { button, fill, h, icon } from "../dom.js";
import { closeAllDialogs, openDialog } from "../dialog.js";
import { clearErrors, field, formAlert, onSubmit } from "../form.js";
import { count } from "../format.js";
import { forget, login } from "../session.js";

/** The login view. `message` says why it is shown. */
export function mountLogin(main, message) {
  const { form, submit } = loginForm(() => {});
  document.title = "Log in · keygate";
  const about =
    message &&
    h("p", { class: "notice info", role: "status", test: "login-message" }, icon("info"), h("span", {}, message));
  fill(
    main,
    h(
      "div",
      { class: "login" },
      h("div", { class: "login-mark" }, icon("gate")),
      h("h1", { tabindex: "-1" }, "Log in to keygate"),
      h("p", { class: "lead" }, "Paste your operator token. It is exchanged for a session and not kept."),
      about,
      h("div", { class: "card" }, form, submit),
      h("p", { class: "hint" }, "No token? ", h("code", { class: "whole" }, "keygate operator login NAME"), " prints a one-time link."),
    ),
  );
  form.elements.namedItem("token").focus();
}

/** The form alone: a token, sent when complete. */
function loginForm(done) {
  const id = "login-form";
  const token = h("input", {
    type: "password",
    autocomplete: "current-password",
    autocapitalize: "off",
    spellcheck: "false",
    placeholder: "kgo_…",
    required: true,
    autofocus: true,
    test: "login-token",
  });
  const submit = h("button", { type: "submit", form: id, class: "button primary block", test: "login" }, "Log in");
  const form = h("form", { id }, formAlert(), field("token", "Operator token", token));
  onSubmit(form, submit, async () => {
    const value = token.value.trim();
    if (!value) throw refusal("Paste a token first.");
    try {
      await login(value);
    } catch (error) {
      throw explained(error);
    }
    token.value = "";
    done();
  });
  token.addEventListener("input", () => clearErrors(form));
  return { form, submit };
}

const refusal = (message) => Object.assign(new Error(message), { fields: [{ field: "token", detail: message }] });

function explained(error) {
  if (error.status === 401) return refusal("This token is not valid, was used before, or has expired.");
  if (error.status === 422 || error.status === 400)
    return refusal("This is not an operator token: they begin with kgo_.");
  if (error.status === 429) {
    const seconds = error.retryAfter ?? 60;
    return refusal(`Too many failed logins from your address. Try again in ${count(seconds, "second")}.`);
  }
  return error;
}

/** Asks for a token above everything that is open. Resolves with a new session; rejects when the operator leaves. */
export function askLoginAgain() {
  return new Promise((resolve, reject) => {
    const dialog = openDialog({
      title: "Your session has ended",
      test: "relogin",
      closable: false,
      onClosed: (again) => (again ? resolve() : reject(new Error("The session has ended."))),
    });
    const { form, submit } = loginForm(() => dialog.close(true));
    submit.classList.remove("block");
    form.id = "relogin-form";
    submit.setAttribute("form", form.id);
    dialog.setBody(h("p", {}, "Log in again to go on where you are. Nothing that you typed is lost."), form);
    dialog.setFooter(
      button("Log out", {
        test: "relogin-leave",
        onClick: () => {
          dialog.close(false);
          closeAllDialogs();
          forget();
        },
      }),
      submit,
    );
    dialog.focus();
  });
}

/** Takes the token of `#login=<token>` out of the address and the history, before anything else is done. */
export function takeTokenFromAddress() {
  const match = /^#login=([^&]+)/.exec(location.hash);
  if (!match) return null;
  history.replaceState(null, "", location.pathname);
  return decodeURIComponent(match[1]);
}
