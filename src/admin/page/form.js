// Fields with their labels, hints and errors, and sending a form once.

import { fill, h, icon, uniqueId } from "./dom.js";

/** A labelled control. Errors for `name` appear under it. */
export function field(name, label, control, { hint, wide = true } = {}) {
  const id = uniqueId(name);
  control.id = id;
  control.name = name;
  const described = [hint && `${id}-hint`, `${id}-error`].filter(Boolean).join(" ");
  control.setAttribute("aria-describedby", described);
  return h(
    "div",
    { class: wide ? "field" : "field narrow" },
    h("label", { for: id }, label),
    control,
    hint && h("p", { class: "hint", id: `${id}-hint` }, hint),
    h("p", { class: "field-error", id: `${id}-error`, "data-for": name, hidden: true, test: `error-${name}` }),
  );
}

/** A drop-down of `[value, label]`. */
export function select(options, { value, ...props } = {}) {
  return h(
    "select",
    props,
    options.map(([option, label]) => h("option", { value: option, selected: option === value }, label)),
  );
}

/** Where a form says what went wrong as a whole. First child of each form. */
export function formAlert() {
  return h("div", { class: "notice error", role: "alert", hidden: true, test: "form-error" });
}

/** Shows a message for one field, and marks it. */
export function setFieldError(form, name, message) {
  const place = form.querySelector(`.field-error[data-for="${CSS.escape(name)}"]`);
  const control = form.elements.namedItem(name);
  if (!place || !control) return false;
  fill(place, icon("warning"), message);
  place.hidden = false;
  control.setAttribute("aria-invalid", "true");
  control.closest("details")?.setAttribute("open", "");
  return true;
}

export function clearErrors(form) {
  for (const place of form.querySelectorAll(".field-error")) place.hidden = true;
  for (const control of form.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
  const alert = form.querySelector(".notice[role=alert]");
  if (alert) alert.hidden = true;
}

function clearFieldError(form, typedInto) {
  if (!typedInto.hasAttribute("aria-invalid")) return;
  typedInto.removeAttribute("aria-invalid");
  form.querySelector(`.field-error[data-for="${CSS.escape(typedInto.name)}"]`).hidden = true;
}

/** Shows an error where it belongs: at its fields, else at the top of the form. */
export function showError(form, error) {
  const unplaced = (error.fields ?? []).filter(
    ({ field: name, detail }) => !setFieldError(form, name.split(/[.[]/)[0], detail),
  );
  const first = form.querySelector("[aria-invalid]");
  if (first && unplaced.length === 0) {
    first.focus();
    return;
  }
  const alert = form.querySelector(".notice[role=alert]");
  const more = unplaced.map(({ field: name, detail }) => h("li", {}, `${name}: ${detail}`));
  const request = error.requestId && error.status >= 500 && h("small", {}, `Request ${error.requestId}`);
  alert.hidden = false;
  fill(alert, icon("warning"), h("div", {}, h("p", {}, error.message), more.length > 0 && h("ul", {}, more), request));
  alert.scrollIntoView({ block: "nearest" });
}

/** Runs `send` on submit, once at a time; what it throws is shown, and what was typed stays. */
export function onSubmit(form, submitter, send) {
  form.noValidate = true;
  form.addEventListener("input", (event) => clearFieldError(form, event.target));
  let busy = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (busy || submitter.disabled) return;
    busy = true;
    clearErrors(form);
    submitter.setAttribute("aria-busy", "true");
    try {
      await send();
    } catch (error) {
      showError(form, error);
    } finally {
      busy = false;
      submitter.removeAttribute("aria-busy");
    }
  });
}

/** On narrow screens filters are folded away; this shows them. */
export function filtersToggle(form) {
  const toggle = h(
    "button",
    { type: "button", class: "button filters-toggle", "aria-expanded": "false", test: "filters-toggle" },
    "Filters",
  );
  toggle.addEventListener("click", () =>
    toggle.setAttribute("aria-expanded", String(form().classList.toggle("is-open"))),
  );
  return toggle;
}

/** The control of this name. */
export const control = (form, name) => form.elements.namedItem(name);

/** A multi-line field as a list: commas and line ends separate; empty is null. */
export function list(value) {
  const items = value.split(/[\s,]+/).filter(Boolean);
  return items.length ? items : null;
}
