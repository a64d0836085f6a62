// Looking again at regular times: only while the tab is seen and somebody is there. A page that nobody touches falls
// silent, so that it does not keep an idle session alive.

const ATTENTION_MS = 10 * 60_000;
let touched = Date.now();
for (const event of ["pointermove", "pointerdown", "keydown", "scroll", "focus"]) {
  window.addEventListener(event, () => (touched = Date.now()), { capture: true, passive: true });
}

/** Calls `look` every `period` milliseconds, one call at a time. Returns what stops it. */
export function poll(look, period) {
  let stopped = false;
  let timer = 0;
  let busy = false;
  async function tick() {
    clearTimeout(timer);
    if (stopped || busy) return;
    busy = true;
    try {
      if (!document.hidden && Date.now() - touched < ATTENTION_MS) await look();
    } catch {
      // The view's own error state or the connection line tells; the next look may succeed.
    }
    busy = false;
    if (!stopped) timer = setTimeout(tick, period);
  }
  const seen = () => !document.hidden && tick();
  document.addEventListener("visibilitychange", seen);
  timer = setTimeout(tick, period);
  return () => {
    stopped = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
  };
}
