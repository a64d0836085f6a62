// An integration with jsonwebtoken and fetch. All that it is given is its bundle, in KEYGATE_BUNDLE.

import { randomUUID } from "node:crypto";
import jwt from "jsonwebtoken";

const bundle = JSON.parse(Buffer.from(process.env.KEYGATE_BUNDLE, "base64").toString("utf8"));
const { url, shortname, appname, sharedsecret, appkey } = bundle;

async function ask(step, path, options) {
  const answer = await fetch(url + path, { method: "POST", ...options });
  const told = await answer.json();
  if (!answer.ok) {
    console.log(`${step} ${answer.status} ${told.name}: ${told.message}`);
    process.exit(1);
  }
  console.log(step, answer.status, told.scope);
  return told;
}

async function get(path, tokens) {
  const answer = await fetch(url + path, { headers: { authorization: `Bearer ${tokens.access_token}` } });
  await answer.arrayBuffer();
  console.log("get", answer.status);
}

// It adds iat by itself.
const assertion = jwt.sign({ jti: randomUUID(), appname, appkey, shortname }, sharedsecret, { algorithm: "HS256" });
let tokens = await ask("exchange", "/api/v1/auth/token", {
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ jwt: assertion }),
});
await get("/x", tokens);
tokens = await ask("refresh", "/api/auth/bearer/refresh", {
  body: new URLSearchParams({ refresh_token: tokens.refresh_token }),
});
await get("/x", tokens);
