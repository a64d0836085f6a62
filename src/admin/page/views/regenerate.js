// Regenerating the shared secret: the question, the wait for every node, and what has to be done next.

import { FIRST_WAIT, get, post } from "../api.js";
import { button, h } from "../dom.js";
import { consequences, notice, wordField } from "../confirm.js";
import { field, formAlert, onSubmit, select } from "../form.js";
import { relative, utc } from "../format.js";
import { recipe } from "../recipe.js";
import { revocationView } from "../revocation.js";
import { impactSentence, showPresent } from "./secret.js";

const WORD = "REGENERATE";
const GRACES = [
  ["1h", "1 hour"],
  ["24h", "24 hours"],
  ["7d", "7 days"],
  ["30d", "30 days"],
];

/** Asks in the dialog of the shared secret. Nothing is changed before the word was typed and sent. */
export function regenerate(dialog, impact) {
  const { version, previous } = impact;
  const id = "regenerate-form";
  const word = h("input", {
    type: "text",
    autocomplete: "off",
    autocapitalize: "characters",
    spellcheck: "false",
    autofocus: true,
    test: "confirm-word",
  });
  const grace = select([["", `None: version ${version} ends at once`], ...GRACES], { test: "grace-period" });
  const go = h(
    "button",
    { type: "submit", form: id, class: "button danger", disabled: true, test: "confirm-regenerate" },
    WORD,
  );
  const form = h(
    "form",
    { id },
    formAlert(),
    h("p", { class: "impact", test: "impact" }, impactSentence(impact)),
    consequences([
      `Version ${version + 1} is made; every integration has to encode its key anew.`,
      "Ids, names, roles and history stay.",
      previous && `Version ${previous.version}, which is in its grace period, ends at once.`,
    ]),
    field("grace", "Grace period (optional)", grace, {
      hint: `For this long, keys encoded with version ${version} go on working.`,
    }),
    wordField(word, WORD),
  );
  word.addEventListener("input", () => {
    go.disabled = word.value !== WORD;
  });

  let lost = false;
  onSubmit(form, go, async () => {
    const body = { expected_version: version, ...(grace.value && { grace: grace.value }) };
    try {
      const answer = await post("shared-secret/regenerate", body, { query: FIRST_WAIT });
      showDone(dialog, answer);
    } catch (error) {
      lost ||= error.name === "connection-lost";
      if (error.name !== "version-conflict") throw error;
      await showConflict(dialog, version, lost);
    }
  });
  dialog.setTitle("Regenerate the shared secret?");
  dialog.setBody(form);
  dialog.setFooter(button("CANCEL", { test: "cancel", onClick: () => dialog.close() }), go);
  word.focus();
}

/** Another version is current than the one that was to be replaced. */
async function showConflict(dialog, expected, lost) {
  const present = await get("shared-secret/impact").catch(() => null);
  const ours = lost && present?.version === expected + 1;
  const now = present ? `: version ${present.version} is current` : "";
  const text = ours
    ? `The attempt whose answer was lost has probably worked: version ${present.version} is current.`
    : `Nothing was changed. Somebody else has regenerated the shared secret meanwhile${now}.`;
  const told = notice("warning", h("p", { test: "version-conflict" }, text));
  told.setAttribute("role", "alert");
  await showPresent(dialog, told);
}

function showDone(dialog, answer) {
  const held = answer.grace_until ? "Every node knows the new version" : undefined;
  const view = revocationView(answer, { held });
  dialog.element.addEventListener("close", view.stop, { once: true });
  const grace =
    answer.grace_until &&
    notice(
      "info",
      h(
        "p",
        { test: "grace" },
        `Keys encoded with the version before go on working until ${utc(answer.grace_until)} UTC `,
        `(${relative(answer.grace_until)}).`,
      ),
    );
  dialog.setTitle(`Version ${answer.version} is made`);
  dialog.setBody(h("div", { test: "regenerated", "data-version": answer.version }, view.element), grace, recipe());
  dialog.setFooter(
    button("Show the new secret", {
      symbol: "eye",
      test: "show-new-secret",
      onClick: () => {
        view.stop();
        showPresent(dialog);
      },
    }),
    button("Done", { look: "primary", test: "done", autofocus: true, onClick: () => dialog.close() }),
  );
  dialog.focus();
}
