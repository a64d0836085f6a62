// The encoded key and the app key of an API key that was made or rolled, and its bundle where tokens are exchanged:
// shown once.

import { h } from "../dom.js";
import { notice } from "../confirm.js";
import { showOnce } from "../once.js";
import { revocationView } from "../revocation.js";

/** Shows them until they are stored. `withRevocation`: earlier ones stopped working, and it says where already. */
export async function showIssued(issued, title, { withRevocation = false } = {}) {
  const view = withRevocation && issued.revocation ? revocationView(issued.revocation) : null;
  await showOnce({
    title,
    intro: h(
      "p",
      {},
      "Give the encoded key to the integration. It sends it in ",
      h("code", { class: "whole" }, "Authorization: Bearer"),
      " or in ",
      h("code", { class: "whole" }, "X-API-Key"),
      issued.bundle ? ". One that exchanges tokens gets the bundle instead." : ".",
    ),
    secrets: [
      {
        label: "Encoded key",
        hint: "what the integration sends",
        value: issued.encoded_key,
        test: "encoded-key",
        copyTest: "copy-encoded-key",
      },
      {
        label: "App key",
        hint: "to encode anew after the shared secret was regenerated",
        value: issued.app_key,
        test: "app-key",
        copyTest: "copy-app-key",
      },
      ...(issued.bundle ? [bundle(issued.bundle)] : []),
    ],
    more: [
      view?.element,
      notice(
        "info",
        h(
          "p",
          {},
          "An encoded key contains its app key. If it leaks, roll this key: ",
          "regenerating the shared secret does not help.",
          issued.bundle && " A bundle contains the shared secret too: if it leaks, roll this key, then regenerate.",
        ),
      ),
    ],
  });
  view?.stop();
}

function bundle(value) {
  return {
    label: "Bundle",
    hint: "all in one, for an integration that exchanges tokens",
    value,
    test: "bundle",
    copyTest: "copy-bundle",
  };
}
