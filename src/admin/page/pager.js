// Going through a list page by page with cursors. It remembers the cursors of the pages before, not the pages.

import { button, h, setText } from "./dom.js";

/** `load` is called when another page is wanted; `noun` names what is counted. */
export function makePager({ load, sizes, size }) {
  let cursors = [null];
  let next = null;
  let limit = size;
  let turning = false;
  const firstButton = button("First", { test: "first", onClick: () => turn(first) });
  const previousButton = button("Previous", {
    symbol: "left",
    test: "previous",
    onClick: () => turn(() => cursors.pop()),
  });
  const nextButton = button("Next", {
    class: "button trailing",
    symbol: "right",
    test: "next",
    onClick: () => turn(() => cursors.push(next)),
  });
  const where = h("p", { class: "pager-where", "aria-live": "polite", test: "page-info" });
  const choice = h(
    "select",
    { "aria-label": "Rows per page", test: "page-size", on: { change: resize } },
    sizes.map((value) => h("option", { value, selected: value === size }, `${value} per page`)),
  );
  const element = h(
    "nav",
    { class: "pager", "aria-label": "Pages", hidden: true },
    where,
    choice,
    firstButton,
    previousButton,
    nextButton,
  );

  /** Shows another page from its top. A button that has done all it can hands the focus on. */
  async function turn(step) {
    // Until the answer is there nobody knows what comes next.
    if (turning) return;
    turning = true;
    const pressed = document.activeElement;
    step();
    await load();
    turning = false;
    window.scrollTo(0, 0);
    if (pressed?.disabled) (pressed === nextButton ? previousButton : nextButton).focus({ preventScroll: true });
  }
  const first = () => (cursors = [null]);
  function resize() {
    limit = Number(choice.value);
    reset();
    load();
  }
  /** Back to the first page, because the order or the filter has changed. */
  function reset() {
    cursors = [null];
    next = null;
  }
  /** What the page that was loaded said. */
  function loaded(nextCursor, rows) {
    next = nextCursor;
    const from = (cursors.length - 1) * limit;
    setText(where, rows ? `${(from + 1).toLocaleString("en")}–${(from + rows).toLocaleString("en")}` : "");
    firstButton.disabled = cursors.length === 1;
    previousButton.disabled = cursors.length === 1;
    nextButton.disabled = !next;
    element.hidden = cursors.length === 1 && !next && rows <= sizes[0];
  }
  return {
    element,
    reset,
    loaded,
    query: () => ({ cursor: cursors.at(-1), limit }),
    isFirst: () => cursors.length === 1,
  };
}
