// Going through a list page by page with cursors. It remembers where the pages before began, not the pages: a page may
// hold fewer rows than were asked for.

import { button, h, setText } from "./dom.js";

const START = { cursor: null, from: 1 };

/** `load` is called when another page is wanted; `noun` names what is counted. */
export function makePager({ load, sizes, size }) {
  let places = [START];
  let next = null;
  let limit = size;
  let turning = false;
  const firstButton = button("First", { test: "first", onClick: () => turn(first) });
  const previousButton = button("Previous", {
    symbol: "left",
    test: "previous",
    onClick: () => turn(() => places.pop()),
  });
  const nextButton = button("Next", {
    class: "button trailing",
    symbol: "right",
    test: "next",
    onClick: () => turn(() => places.push(next)),
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
  const first = () => (places = [START]);
  function resize() {
    limit = Number(choice.value);
    reset();
    load();
  }
  /** Back to the first page, because the order or the filter has changed. */
  function reset() {
    places = [START];
    next = null;
  }
  /** What the page that was loaded said. */
  function loaded(nextCursor, rows) {
    const { from } = places.at(-1);
    next = nextCursor && { cursor: nextCursor, from: from + rows };
    setText(where, rows ? `${from.toLocaleString("en")}–${(from + rows - 1).toLocaleString("en")}` : "");
    firstButton.disabled = places.length === 1;
    previousButton.disabled = places.length === 1;
    nextButton.disabled = !next;
    element.hidden = places.length === 1 && !next && rows <= sizes[0];
  }
  return {
    element,
    reset,
    loaded,
    query: () => ({ cursor: places.at(-1).cursor, limit }),
    isFirst: () => places.length === 1,
  };
}
