// Making elements. Text is always a text node: there is no way from a string to markup here, and no inline style.

import { icon } from "./icons.js";

export { icon };

/** A new element. `test` becomes data-test, `on` holds listeners, `value` and the like are set as properties. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "test") {
      element.dataset.test = value;
    } else if (PROPERTIES.has(name)) {
      element[name] = value;
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...present(children));
  return element;
}

const PROPERTIES = new Set(["value", "checked", "selected", "textContent"]);

/** Children without the gaps that conditions leave. */
export function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Replaces all children. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

/** Makes `child` the only child. What is there already, or looks the same, stays and keeps focus and scroll. */
export function showOnly(parent, child) {
  const there = parent.childNodes.length === 1 ? parent.firstChild : null;
  if (there !== child && !there?.isEqualNode(child)) parent.replaceChildren(child);
}

/** Sets text only where it differs, so that selection and screen readers are left alone. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A button that submits nothing. `look`: "primary", "danger", "quiet" or none. */
export function button(label, { look, symbol, onClick, ...props } = {}, ...children) {
  const on = onClick ? { click: onClick } : undefined;
  const style = ["button", look].filter(Boolean).join(" ");
  return h("button", { type: "button", class: style, on, ...props }, symbol && icon(symbol), label, ...children);
}

/** A button that shows an icon and says `label`. */
export function iconButton(label, symbol, props = {}) {
  const { onClick, ...rest } = props;
  const on = onClick ? { click: onClick } : undefined;
  return h(
    "button",
    { type: "button", class: "icon-button", "aria-label": label, title: label, on, ...rest },
    icon(symbol),
  );
}

let ids = 0;

/** An id that no other element has. */
export function uniqueId(stem) {
  ids += 1;
  return `${stem}-${ids}`;
}
