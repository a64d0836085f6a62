// Asking before something is done: says what will happen, and for dangerous things asks to type a word.

import { button, h, icon } from "./dom.js";
import { openDialog } from "./dialog.js";
import { clearErrors, field, formAlert, onSubmit } from "./form.js";

/**
 * Asks, then runs `act(handle)`; what that throws is shown and can be tried again. `word`: what has to be typed.
 * Answers what `act` answered, or undefined when the operator thought better of it. The dialog closes by itself
 * unless `act` answers `STAY`.
 */
export function confirm({
  title,
  consequences,
  verb,
  test,
  word,
  wordLabel,
  wordTest = "confirm-name",
  danger = true,
  act,
}) {
  return new Promise((resolve) => {
    const dialog = openDialog({ title, test, onClosed: resolve });
    const typed =
      word &&
      h("input", {
        type: "text",
        autocomplete: "off",
        autocapitalize: "off",
        spellcheck: "false",
        autofocus: true,
        test: wordTest,
      });
    const id = `${test}-form`;
    const go = h(
      "button",
      {
        type: "submit",
        form: id,
        class: `button ${danger ? "danger" : "primary"}`,
        test: "confirm",
        disabled: Boolean(word),
      },
      verb,
    );
    const form = h("form", { id }, formAlert(), consequences, word && wordField(typed, word, wordLabel));
    typed?.addEventListener("input", () => {
      go.disabled = typed.value !== word;
    });
    onSubmit(form, go, async () => {
      const answer = await act(dialog);
      if (answer !== STAY) dialog.close(answer ?? true);
    });
    dialog.setBody(form);
    dialog.setFooter(button("CANCEL", { test: "cancel", autofocus: !word, onClick: () => dialog.close() }), go);
    clearErrors(form);
    dialog.focus();
  });
}

/** Answered by an action that goes on showing something in the dialog. */
export const STAY = Symbol("stay");

/** The field into which a word has to be typed. */
export function wordField(control, word, label) {
  const made = field("word", "", control);
  made.querySelector("label").append(`${label ?? "To confirm, type"} `, h("strong", { class: "typed-word" }, word));
  return made;
}

/** A list of what will happen. `items`: texts or elements. */
export function consequences(items) {
  return h(
    "ul",
    { class: "consequences" },
    items.filter(Boolean).map((item) => h("li", {}, item)),
  );
}

/** A box that says something important. `look`: "info", "warning", "error" or "ok". */
export function notice(look, ...content) {
  const symbol = { info: "info", ok: "check" }[look] ?? "warning";
  return h("div", { class: `notice ${look}` }, icon(symbol), h("div", {}, content));
}
