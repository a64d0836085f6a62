// The REST API: one function a request. Knows problems, lost sessions and lost connections; knows no page.

/** The gateway answered with a problem (RFC 9457). */
export class Problem extends Error {
  constructor(status, body, retryAfter) {
    super(body.detail || body.title || `The gateway answered ${status}.`);
    this.status = status;
    this.name = (body.type ?? "").split(":").pop();
    this.fields = body.errors ?? [];
    this.requestId = body.request_id;
    this.retryAfter = retryAfter;
  }
}

/** No answer: nobody knows whether the request had an effect. */
export class ConnectionLost extends Error {
  constructor() {
    super("The gateway cannot be reached. What you typed is kept; try again.");
    this.name = "connection-lost";
  }
}

/** The session had ended, so nothing was done; there is a new session now. */
export class LoggedInAgain extends Error {
  constructor() {
    super("You are logged in again. Nothing has been changed yet: press the button once more.");
    this.name = "logged-in-again";
  }
}

/** Tells "online" and "offline" as requests succeed and fail. */
export const connection = new EventTarget();

let loginAgain = null;

/** `handler` is called when a session has ended, and answers when there is a new one. */
export function onSessionEnd(handler) {
  loginAgain = handler;
}

const PATIENCE_MS = 30_000;

/**
 * Sends a request. Reads are repeated by themselves after a new login; changes are left to the operator.
 * `background`: nobody waits for it, so it does not keep the session alive.
 */
export async function request(method, path, options = {}) {
  const response = await send(method, path, options);
  if (response.status === 401 && !options.isLogin && loginAgain) {
    await loginAgain();
    if (method !== "GET") throw new LoggedInAgain();
    return request(method, path, options);
  }
  return read(response);
}

async function send(method, path, { query, body, revision, signal, background, patience = PATIENCE_MS }) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (revision !== undefined) headers["If-Match"] = `"${revision}"`;
  if (background) headers["X-Keygate-Background"] = "1";
  const signals = [AbortSignal.timeout(patience), signal].filter(Boolean);
  try {
    const response = await fetch(`/v1/${path}${queryString(query)}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      signal: AbortSignal.any(signals),
    });
    const text = await response.text();
    connection.dispatchEvent(new Event("online"));
    return { status: response.status, ok: response.ok, headers: response.headers, text };
  } catch (error) {
    if (signal?.aborted) throw error;
    connection.dispatchEvent(new Event("offline"));
    throw new ConnectionLost();
  }
}

function read(response) {
  let content = null;
  try {
    content = response.text ? JSON.parse(response.text) : null;
  } catch {
    content = { detail: `The gateway answered ${response.status} with something that is not JSON.` };
    if (response.ok) throw new Problem(response.status, content);
  }
  if (response.ok) return content;
  throw new Problem(response.status, content ?? {}, Number(response.headers.get("Retry-After")) || undefined);
}

function queryString(query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

export const get = (path, query, options) => request("GET", path, { query, ...options });
export const post = (path, body, options) => request("POST", path, { body, ...options });
export const patch = (path, body, options) => request("PATCH", path, { body, ...options });
export const remove = (path, options) => request("DELETE", path, options);

/** How long a revoking call itself waits for the nodes; revocation.js goes on from there, where it can be watched. */
export const FIRST_WAIT = { wait: "1s" };

/** Was this thrown because we ourselves stopped the request? */
export const isAbort = (error) => error?.name === "AbortError";
