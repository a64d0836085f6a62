// How to encode keys anew after the shared secret was regenerated: the same in shell, Python and JavaScript.
// Each reads SHARED_SECRET and OLD_KEY from the environment, so that neither stands in a file or a shell's history.

import { h } from "./dom.js";
import { copyButton } from "./clipboard.js";
import { JAVASCRIPT, PYTHON, SHELL } from "./recipe_texts.js";
import { makeTabs } from "./tabs.js";

/** The recipe as tabs, with a Copy button each. */
export function recipe() {
  const panel = (name, test, code) => ({
    label: name,
    test: `recipe-${test}`,
    content: h(
      "div",
      { class: "code-block" },
      h(
        "div",
        { class: "code-head" },
        h("small", {}, "Both come from the environment."),
        copyButton(`the recipe in ${name}`, () => code, { test: `copy-recipe-${test}` }),
      ),
      h(
        "pre",
        { tabindex: "0", role: "region", "aria-label": `Recipe in ${name}` },
        h("code", { test: `recipe-${test}-code` }, code),
      ),
    ),
  });
  return h(
    "section",
    { class: "recipe", test: "recipe" },
    h("h3", {}, "Encode keys anew"),
    h(
      "p",
      {},
      "Each integration makes its new encoded key out of its old one and the new shared secret, offline. ",
      "Ids, names, roles and history stay.",
    ),
    makeTabs("Language", [
      panel("Shell", "shell", SHELL),
      panel("Python", "python", PYTHON),
      panel("JavaScript", "javascript", JAVASCRIPT),
    ]),
    h(
      "p",
      { class: "hint" },
      "Or with the command line: ",
      h("code", {}, "keygate encode"),
      ". (openssl takes the secret as an argument, which other users of that machine can see while it runs.)",
    ),
    h(
      "p",
      { class: "hint", test: "recipe-bundle" },
      "A bundle is not encoded with the secret; it holds it. Only its ",
      h("code", {}, "sharedsecret"),
      " is replaced, by hand or with ",
      h("code", {}, "keygate bundle encode"),
      ".",
    ),
  );
}
