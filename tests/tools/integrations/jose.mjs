// An integration with jose and fetch. All that it is given is its bundle, in KEYGATE_BUNDLE.

import { randomUUID } from "node:crypto";
import { SignJWT } from "jose";

class Refused extends Error {}

class Integration {
  #bundle;
  #tokens;

  constructor(bundle) {
    this.#bundle = JSON.parse(Buffer.from(bundle, "base64").toString("utf8"));
  }

  async exchange() {
    const { appname, appkey, shortname, sharedsecret } = this.#bundle;
    const assertion = await new SignJWT({ appname, appkey, shortname })
      .setProtectedHeader({ alg: "HS256", typ: "JWT", kid: appname })
      .setIssuedAt()
      .setJti(randomUUID())
      .setExpirationTime("1m")
      .sign(new TextEncoder().encode(sharedsecret));
    await this.#keep("exchange", "/api/v1/auth/token", { jwt: assertion });
  }

  async refresh() {
    await this.#keep("refresh", "/api/auth/bearer/refresh", { refresh_token: this.#tokens.refresh_token });
  }

  async #keep(step, path, body) {
    const request = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const answer = await fetch(new URL(path, this.#bundle.url), request);
    const told = await answer.json();
    if (answer.status !== 200) throw new Refused(`${step} ${told.status} ${told.name}: ${told.message}`);
    this.#tokens = told;
    console.log(step, answer.status, told.scope);
  }

  async get(path) {
    const headers = { authorization: `Bearer ${this.#tokens.access_token}` };
    const answer = await fetch(new URL(path, this.#bundle.url), { headers });
    await answer.arrayBuffer();
    console.log("get", answer.status);
  }
}

const integration = new Integration(process.env.KEYGATE_BUNDLE);
try {
  await integration.exchange();
  await integration.get("/x");
  await integration.refresh();
  await integration.get("/x");
} catch (error) {
  if (!(error instanceof Refused)) throw error;
  console.log(error.message);
  process.exitCode = 1;
}
