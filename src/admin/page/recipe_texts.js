// The recipe that encodes keys anew, in each language. A test runs these texts against docs/test-vectors.json.
// Lines are short, so that none is cut off in the dialog.

export const SHELL = `# SHARED_SECRET: the new shared secret
# OLD_KEY: the encoded key in use, or the app key
PARTS='s/^(kg_[0-9]+|kga)_([0-9a-z]+_[0-9A-Za-z]+).*/\\2/'
VERSION=$(printf %s "$SHARED_SECRET" | cut -d_ -f2)
ID_BODY=$(printf %s "$OLD_KEY" | sed -E "$PARTS")
P="kg_\${VERSION}_\${ID_BODY}"
MAC=$(printf %s "$P" |
  openssl dgst -sha256 -hmac "$SHARED_SECRET" -r | cut -c1-40)
echo "\${P}_\${MAC}"
`;

export const PYTHON = `# SHARED_SECRET: the new shared secret
# OLD_KEY: the encoded key in use, or the app key
import hashlib, hmac, os

def encode(old_key: str, shared_secret: str) -> str:
    fields = old_key.split("_")
    start = 1 if fields[0] == "kga" else 2
    key_id, body = fields[start : start + 2]
    version = shared_secret.split("_")[1]
    p = f"kg_{version}_{key_id}_{body}"
    mac = hmac.new(shared_secret.encode(), p.encode(), hashlib.sha256)
    return p + "_" + mac.hexdigest()[:40]

print(encode(os.environ["OLD_KEY"], os.environ["SHARED_SECRET"]))
`;

export const JAVASCRIPT = `// SHARED_SECRET: the new shared secret
// OLD_KEY: the encoded key in use, or the app key
import { createHmac } from "node:crypto";

function encode(oldKey, sharedSecret) {
  const fields = oldKey.split("_");
  const start = fields[0] === "kga" ? 1 : 2;
  const [id, body] = fields.slice(start, start + 2);
  const version = sharedSecret.split("_")[1];
  const p = \`kg_\${version}_\${id}_\${body}\`;
  const mac = createHmac("sha256", sharedSecret).update(p).digest("hex");
  return p + "_" + mac.slice(0, 40);
}

console.log(encode(process.env.OLD_KEY, process.env.SHARED_SECRET));
`;
