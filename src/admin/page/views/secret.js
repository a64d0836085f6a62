// API SHARED SECRET: its version, its age, the secret itself (fetched only when it is revealed or copied), a grace
// period that runs, and the way to REGENERATE. CANCEL changes nothing.

import { FIRST_WAIT, get, post } from "../api.js";
import { button, fill, h, icon } from "../dom.js";
import { copyButton } from "../clipboard.js";
import { STAY, confirm, consequences, notice } from "../confirm.js";
import { openDialog } from "../dialog.js";
import { count, duration, relative, utc } from "../format.js";
import { tellRevocation } from "../revocation.js";
import { isAdmin } from "../session.js";
import { regenerate } from "./regenerate.js";

const HIDE_AFTER_MS = 60_000;

/** Opens the dialog. Resolves when it is closed. */
export function openSecret() {
  return new Promise((resolve) => {
    const dialog = openDialog({ title: "API Shared Secret", test: "secret-dialog", wide: true, onClosed: resolve });
    showPresent(dialog);
  });
}

/** The present secret. `message` is said above it. */
export async function showPresent(dialog, message) {
  const cancel = button(isAdmin() ? "CANCEL" : "Close", { test: "cancel", onClick: () => dialog.close() });
  dialog.setTitle("API Shared Secret");
  dialog.setBody(message, h("p", { class: "loading" }, h("span", { class: "spinner" }), "Loading"));
  dialog.setFooter(cancel);
  let impact;
  try {
    impact = await get("shared-secret/impact");
  } catch (error) {
    dialog.setBody(
      message,
      notice(
        "error",
        h("p", {}, error.message),
        button("Try again", { symbol: "refresh", test: "retry", onClick: () => showPresent(dialog, message) }),
      ),
    );
    return;
  }
  dialog.setBody(
    message,
    versionAndAge(impact),
    graceRunning(impact, dialog),
    isAdmin() && secretLine(impact.version),
    h("p", { class: "impact", test: "impact" }, impactSentence(impact)),
    leakNote(),
  );
  dialog.setFooter(
    cancel,
    isAdmin() &&
      button("REGENERATE", {
        look: "danger",
        symbol: "refresh",
        test: "regenerate",
        onClick: () => regenerate(dialog, impact),
      }),
  );
  cancel.focus();
}

function versionAndAge({ version, created_at: created, age_s: age }) {
  return h(
    "dl",
    { class: "tiles" },
    h("div", {}, h("dt", {}, "Version"), h("dd", { test: "secret-version" }, String(version))),
    h("div", {}, h("dt", {}, "Age"), h("dd", { test: "secret-age" }, duration(age))),
    h("div", {}, h("dt", {}, "Made (UTC)"), h("dd", { class: "small" }, utc(created))),
  );
}

/** "12 keys used in the last 24 hours will stop working": what regenerating costs, from the counts. */
export function impactSentence({ keys }) {
  const rest = ` (${count(keys.active, "key")} active, ${keys.never_used.toLocaleString("en")} never used).`;
  if (keys.used_24h === 0) return ["Regenerating: ", h("strong", {}, "no key was used in the last 24 hours"), rest];
  return [
    "Regenerating: ",
    h("strong", {}, `${count(keys.used_24h, "key")} used in the last 24 hours will stop working`),
    keys.used_24h === 1 ? " until it is encoded anew" : " until they are encoded anew",
    rest,
  ];
}

function leakNote() {
  return notice(
    "info",
    h(
      "p",
      { test: "leak-note" },
      h("strong", {}, "A leaked encoded key? "),
      "Regenerating does not help: an encoded key contains its app key. Roll that key instead.",
    ),
  );
}

/** Masked; the secret comes into the page at Reveal, and leaves it when hidden. */
function secretLine(version) {
  const masked = `kgs_${version}_${"•".repeat(24)}`;
  const shown = h(
    "code",
    {
      class: "secret-text is-masked",
      tabindex: "0",
      role: "textbox",
      "aria-readonly": "true",
      "aria-label": "Shared secret",
      test: "secret-value",
    },
    masked,
  );
  const problem = h("p", { class: "field-error", role: "alert", hidden: true });
  const toggle = h(
    "button",
    { type: "button", class: "button", test: "reveal-secret", "aria-pressed": "false" },
    icon("eye"),
    "Reveal",
  );
  let timer = 0;
  function hide() {
    clearTimeout(timer);
    draw(masked, false);
  }
  function draw(text, revealed) {
    shown.textContent = text;
    shown.classList.toggle("is-masked", !revealed);
    toggle.setAttribute("aria-pressed", String(revealed));
    fill(toggle, icon(revealed ? "eye-off" : "eye"), revealed ? "Hide" : "Reveal");
  }
  const tell = (error) => {
    problem.hidden = false;
    fill(problem, icon("warning"), error.message);
  };
  const read = async () => {
    problem.hidden = true;
    const { secret, version: now } = await get("shared-secret");
    if (now !== version)
      throw new Error(
        `The shared secret was regenerated meanwhile: version ${now} is current. Open this dialog again.`,
      );
    return secret;
  };
  toggle.addEventListener("click", async () => {
    if (toggle.getAttribute("aria-pressed") === "true") return hide();
    try {
      draw(await read(), true);
      timer = setTimeout(hide, HIDE_AFTER_MS);
    } catch (error) {
      tell(error);
    }
  });
  return h(
    "div",
    { class: "secret" },
    h(
      "div",
      { class: "secret-label" },
      h("span", {}, "Current secret"),
      h("small", {}, "revealing and copying are audited"),
    ),
    h(
      "div",
      { class: "secret-line" },
      shown,
      toggle,
      copyButton("Shared secret", read, { test: "copy-secret", onFailed: tell }),
    ),
    problem,
  );
}

function graceRunning({ previous }, dialog) {
  if (!previous) return null;
  return h(
    "div",
    { class: "notice warning", test: "grace" },
    icon("clock"),
    h(
      "div",
      {},
      h(
        "p",
        {},
        h("strong", {}, `Version ${previous.version} is still accepted`),
        ` until ${utc(previous.grace_until)} UTC (${relative(previous.grace_until)}).`,
      ),
      isAdmin() && button("End grace now", { test: "end-grace", onClick: () => endGrace(previous, dialog) }),
    ),
  );
}

async function endGrace({ version }, dialog) {
  let ended;
  const done = await confirm({
    title: "End the grace period now?",
    test: "end-grace-dialog",
    consequences: consequences([
      `Keys encoded with version ${version} stop working at once, on every node.`,
      "The new version stays as it is.",
    ]),
    verb: "End grace now",
    act: async (asking) => {
      ended = await post("shared-secret/end-grace", undefined, { query: FIRST_WAIT });
      const stay = (view) => {
        asking.setBody(view.element);
        asking.setFooter(button("Done", { look: "primary", test: "done", onClick: () => asking.close(true) }));
      };
      if (!tellRevocation(`Version ${version} is no longer accepted`, ended, stay)) return STAY;
    },
  });
  if (done || ended) showPresent(dialog);
}
