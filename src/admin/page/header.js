// The bar at the top: views, appearance, and who is logged in.

import { fill, h, icon } from "./dom.js";
import { menuButton } from "./menu.js";
import { currentOperator, isAdmin, logout } from "./session.js";
import { setTheme, theme } from "./theme.js";
import { toast } from "./toast.js";

/** Draws the header for the operator who is logged in; hides all but the appearance otherwise. */
export function drawHeader(header) {
  const operator = currentOperator();
  const views = [["keys", "API Keys"], ["nodes", "Nodes"], ["audit", "Audit"], isAdmin() && ["operators", "Operators"]];
  const link = ([name, label]) =>
    h("li", {}, h("a", { href: `#/${name}`, "data-view": name, test: `nav-${name}` }, label));
  header.hidden = false;
  fill(
    header,
    h(
      "div",
      { class: "topbar-inner" },
      h(
        "a",
        { class: "brand", href: "#/keys", "aria-label": "keygate, API Keys" },
        icon("gate"),
        h("span", {}, "keygate"),
      ),
      operator && h("nav", { "aria-label": "Views" }, h("ul", {}, views.filter(Boolean).map(link))),
      h("div", { class: "topbar-end" }, appearance(), operator && account(operator)),
    ),
  );
}

function appearance() {
  const symbols = { light: "sun", dark: "moon", system: "system" };
  const trigger = h(
    "button",
    { type: "button", class: "icon-button", "aria-label": "Appearance", title: "Appearance", test: "theme" },
    icon(symbols[theme()]),
  );
  const choice = (name, label) => ({
    label,
    symbol: symbols[name],
    checked: theme() === name,
    test: `theme-${name}`,
    action: () => {
      setTheme(name);
      trigger.replaceChildren(icon(symbols[name]));
    },
  });
  return menuButton(trigger, () => [choice("system", "System"), choice("light", "Light"), choice("dark", "Dark")], {
    label: "Appearance",
  });
}

function account(operator) {
  const trigger = h(
    "button",
    { type: "button", class: "account", test: "account" },
    icon("person"),
    h("span", { class: "account-name" }, operator.name),
    h("span", { class: "badge" }, operator.role),
  );
  const leave = () =>
    logout().catch(() => toast("The gateway could not be told; the session there ends by itself.", "warning"));
  return menuButton(trigger, () => [{ label: "Log out", symbol: "leave", test: "logout", action: leave }], {
    label: "Account",
  });
}
