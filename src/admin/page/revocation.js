// What became of a revocation, node by node: confirmed, fenced, or still waited for; and whether the promise holds.

import { get } from "./api.js";
import { button, fill, h, icon } from "./dom.js";
import { notice } from "./confirm.js";
import { milliseconds } from "./format.js";
import { toast } from "./toast.js";

const LOOK_MS = 400;
const PATIENCE_MS = 120_000;

const WORDS = {
  confirmed: ["check", "Confirmed", "has applied the change"],
  fenced: ["shield", "Fenced", "its lease is over; it admits nothing before it has caught up"],
  pending: ["clock", "Waiting", "until it confirms or its lease is over"],
};

/** Shows a revocation. If the promise does not hold yet, it goes on waiting and shows the nodes as they confirm. */
export function revocationView(revocation, { held = "The old authority is accepted nowhere any more" } = {}) {
  const element = h("div", { class: "revocation", test: "revocation", "aria-live": "polite" });
  let stopped = false;
  const shown = { ...revocation };

  function draw(nodes, state) {
    const rows = nodes.map(([id, standing]) => {
      const [symbol, word, meaning] = WORDS[standing];
      return h(
        "li",
        { class: `standing ${standing}`, test: "node-confirmation", "data-standing": standing },
        icon(symbol),
        h("code", {}, id),
        h("strong", {}, word),
        h("span", {}, meaning),
      );
    });
    element.dataset.held = String(shown.promise_held);
    fill(
      element,
      state,
      rows.length > 0 ? h("ul", { class: "standings" }, rows) : h("p", { class: "hint" }, "No node was running."),
    );
  }
  const settled = () => [
    ...(shown.confirmed ?? []).map((id) => [id, "confirmed"]),
    ...(shown.fenced ?? []).map((id) => [id, "fenced"]),
  ];
  function drawHeld() {
    draw(
      settled(),
      h(
        "p",
        { class: "promise is-held", test: "promise" },
        icon("check"),
        h("strong", {}, "Promise held."),
        ` ${held} (${milliseconds(shown.took_ms)}).`,
      ),
    );
  }
  async function watch() {
    const waiting = () =>
      h(
        "p",
        { class: "promise", test: "promise" },
        h("span", { class: "spinner" }),
        h("strong", {}, "Waiting for every node."),
        " The change is made; the promise holds once all have confirmed or are fenced.",
      );
    draw(settled(), waiting());
    const asked = get(`revisions/${shown.revision}`, {}, { patience: PATIENCE_MS });
    const over = asked.then(
      () => true,
      () => true,
    );
    while (!stopped && !(await Promise.race([over, pause(LOOK_MS)]))) {
      const nodes = await get("nodes").catch(() => null);
      if (nodes)
        draw(
          nodes.nodes.map((node) => [node.id, standing(node, shown.revision)]),
          waiting(),
        );
    }
    if (stopped) return;
    try {
      Object.assign(shown, await asked);
    } catch {
      // Told below: it can be waited for again.
    }
    if (shown.promise_held) drawHeld();
    else drawOpen();
  }
  function drawOpen() {
    draw(
      settled(),
      notice(
        "warning",
        h(
          "p",
          {},
          h("strong", {}, "The promise does not hold yet."),
          " The change is made, but a node may still act on what it knew before.",
        ),
        button("Wait again", { symbol: "refresh", test: "wait-again", onClick: watch }),
      ),
    );
  }
  if (shown.promise_held) drawHeld();
  else watch();
  return { element, stop: () => (stopped = true) };
}

function standing(node, revision) {
  if (node.applied >= revision) return "confirmed";
  return node.gone ? "fenced" : "pending";
}

const pause = (ms) => new Promise((resolve) => setTimeout(() => resolve(false), ms));

/** After a change: a line if the promise holds, else `stay(view)` shows who is waited for. Answers whether it holds. */
export function tellRevocation(done, revocation, stay) {
  if (!revocation || revocation.promise_held) {
    const nodes = (revocation?.confirmed ?? []).length;
    const where = nodes
      ? `, confirmed by ${nodes} ${nodes === 1 ? "node" : "nodes"} in ${milliseconds(revocation.took_ms)}`
      : "";
    toast(`${done}${where}.`);
    return true;
  }
  stay(revocationView(revocation));
  return false;
}
