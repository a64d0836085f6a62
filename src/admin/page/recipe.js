// How to encode keys anew after the shared secret was regenerated: the same in shell, Python and JavaScript.
// Each reads SHARED_SECRET and OLD_KEY from the environment, so that neither stands in a file or a shell's history.

import { h } from "./dom.js";
import { copyButton } from "./clipboard.js";
import { makeTabs } from "./tabs.js";

export const SHELL = `# SHARED_SECRET: the new shared secret
# OLD_KEY: the encoded key in use, or the app key
VERSION=$(printf %s "$SHARED_SECRET" | cut -d_ -f2)
ID_BODY=$(printf %s "$OLD_KEY" | sed -E 's/^(kg_[0-9]+|kga)_([0-9a-z]+_[0-9A-Za-z]+).*/\\2/')
P="kg_\${VERSION}_\${ID_BODY}"
MAC=$(printf %s "$P" | openssl dgst -sha256 -hmac "$SHARED_SECRET" -r | cut -c1-40)
echo "\${P}_\${MAC}"
`;

export const PYTHON = `# SHARED_SECRET: the new shared secret
# OLD_KEY: the encoded key in use, or the app key
import hashlib, hmac, os

def encode(old_key: str, shared_secret: str) -> str:
    fields = old_key.split("_")
    key_id, body = fields[1:3] if fields[0] == "kga" else fields[2:4]
    version = shared_secret.split("_")[1]
    p = f"kg_{version}_{key_id}_{body}"
    return p + "_" + hmac.new(shared_secret.encode(), p.encode(), hashlib.sha256).hexdigest()[:40]

print(encode(os.environ["OLD_KEY"], os.environ["SHARED_SECRET"]))
`;

export const JAVASCRIPT = `// SHARED_SECRET: the new shared secret
// OLD_KEY: the encoded key in use, or the app key
import { createHmac } from "node:crypto";

function encode(oldKey, sharedSecret) {
  const fields = oldKey.split("_");
  const [id, body] = fields[0] === "kga" ? fields.slice(1, 3) : fields.slice(2, 4);
  const version = sharedSecret.split("_")[1];
  const p = \`kg_\${version}_\${id}_\${body}\`;
  return p + "_" + createHmac("sha256", sharedSecret).update(p).digest("hex").slice(0, 40);
}

console.log(encode(process.env.OLD_KEY, process.env.SHARED_SECRET));
`;

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
  );
}
