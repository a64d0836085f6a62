// A menu button (WAI-ARIA pattern): arrows, Home, End, first letters, Escape; closes when the focus leaves.

import { h, icon } from "./dom.js";

/** `items()` gives `[{label, symbol, action, danger, test, checked}]` each time the menu opens. */
export function menuButton(trigger, items, { label }) {
  const menu = h("div", { class: "menu", role: "menu", "aria-label": label, hidden: true });
  const wrapper = h("div", { class: "menu-anchor" }, trigger, menu);
  trigger.setAttribute("aria-haspopup", "menu");
  trigger.setAttribute("aria-expanded", "false");

  function open(last = false) {
    menu.replaceChildren(...items().map(entry));
    menu.hidden = false;
    trigger.setAttribute("aria-expanded", "true");
    wrapper.classList.add("open");
    const room = window.innerHeight - trigger.getBoundingClientRect().bottom;
    menu.classList.toggle(
      "upwards",
      room < menu.offsetHeight + 12 && trigger.getBoundingClientRect().top > menu.offsetHeight,
    );
    const entries = [...menu.children];
    (last ? entries.at(-1) : entries[0])?.focus();
  }
  function close(refocus) {
    if (menu.hidden) return;
    if (refocus) trigger.focus();
    menu.hidden = true;
    wrapper.classList.remove("open");
    trigger.setAttribute("aria-expanded", "false");
  }
  function entry({ label: text, symbol, action, danger, test, checked }) {
    const role = checked === undefined ? "menuitem" : "menuitemradio";
    const run = () => {
      close(true);
      action();
    };
    return h(
      "button",
      {
        type: "button",
        role,
        tabindex: "-1",
        class: danger ? "danger" : null,
        test,
        "aria-checked": checked === undefined ? null : String(checked),
        on: { click: run },
      },
      icon(checked ? "check" : symbol),
      text,
    );
  }

  trigger.addEventListener("click", () => (menu.hidden ? open() : close(true)));
  trigger.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    open(event.key === "ArrowUp");
  });
  menu.addEventListener("keydown", (event) => {
    const entries = [...menu.children];
    const at = entries.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1 + entries.length, Home: 0, End: entries.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      entries[to % entries.length].focus();
    } else if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      close(true);
    } else if (event.key === "Tab") {
      close(true);
    } else if (event.key.length === 1 && /\S/.test(event.key)) {
      const begins = (item) => item.textContent.toLowerCase().startsWith(event.key.toLowerCase());
      [...entries.slice(at + 1), ...entries.slice(0, at + 1)].find(begins)?.focus();
    }
  });
  wrapper.addEventListener("focusout", (event) => {
    if (!wrapper.contains(event.relatedTarget)) close(false);
  });
  return wrapper;
}
