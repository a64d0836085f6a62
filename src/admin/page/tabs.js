// Tabs (WAI-ARIA pattern): arrows move between them, one panel is shown.

import { h, uniqueId } from "./dom.js";

/** `panels`: `[{label, content, test}]`. */
export function makeTabs(label, panels) {
  const made = panels.map(({ label: text, content, test }, at) => {
    const id = uniqueId("tab");
    const tab = h(
      "button",
      {
        type: "button",
        role: "tab",
        id,
        "aria-controls": `${id}-panel`,
        test,
        on: { click: () => choose(at) },
      },
      text,
    );
    const panel = h(
      "div",
      { role: "tabpanel", id: `${id}-panel`, "aria-labelledby": id, test: test && `${test}-panel` },
      content,
    );
    return { tab, panel };
  });
  function choose(chosen, focus = false) {
    made.forEach(({ tab, panel }, at) => {
      tab.setAttribute("aria-selected", String(at === chosen));
      tab.tabIndex = at === chosen ? 0 : -1;
      panel.hidden = at !== chosen;
    });
    if (focus) made[chosen].tab.focus();
  }
  const bar = h(
    "div",
    {
      role: "tablist",
      "aria-label": label,
      on: {
        keydown: (event) => {
          const at = made.findIndex(({ tab }) => tab === event.target);
          const to = { ArrowRight: at + 1, ArrowLeft: at - 1 + made.length, Home: 0, End: made.length - 1 }[event.key];
          if (to === undefined) return;
          event.preventDefault();
          choose(to % made.length, true);
        },
      },
    },
    made.map(({ tab }) => tab),
  );
  choose(0);
  return h(
    "div",
    { class: "tabs" },
    bar,
    made.map(({ panel }) => panel),
  );
}
