// Looking again at regular times, while the tab is seen. What nobody asked for says so: when the page was not touched
// for a minute, its looks go out as background requests, which do not keep an idle session alive.

const ATTENTION_MS = 60_000;
let touched = Date.now();
for (const event of ["pointermove", "pointerdown", "keydown", "wheel", "touchmove"]) {
  window.addEventListener(event, () => (touched = Date.now()), { capture: true, passive: true });
}

/** Calls `look({background})` every `period` milliseconds, one call at a time. Returns what stops it. */
export function poll(look, period) {
  let stopped = false;
  let timer = 0;
  let busy = false;
  async function tick() {
    clearTimeout(timer);
    if (stopped || busy) return;
    busy = true;
    try {
      if (!document.hidden) await look({ background: Date.now() - touched > ATTENTION_MS });
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
