// Who is logged in. Logging in, out and in again; nothing of the token is kept.

import { get, onSessionEnd, post, remove } from "./api.js";
import { clearDrafts } from "./draft.js";

/** Tells "changed" when another operator, or nobody, is logged in. */
export const changes = new EventTarget();

let operator = null;

/** `{id, name, role}`, or null. */
export const currentOperator = () => operator;
export const isAdmin = () => operator?.role === "admin";

function become(next) {
  const differs = operator?.id !== next?.id || operator?.role !== next?.role;
  operator = next;
  if (differs) changes.dispatchEvent(new Event("changed"));
}

/** Takes up the session of the cookie. A Problem with status 401 when there is none. */
export async function resume() {
  const answer = await get("session", {}, { isLogin: true });
  become(answer.operator);
}

/** Opens a session with an operator token or a one-time login token. */
export async function login(token) {
  const answer = await post("session", { token }, { isLogin: true });
  become(answer.operator);
}

/** Ends the session, here in any case. */
export async function logout() {
  try {
    await remove("session", { isLogin: true });
  } finally {
    forget();
  }
}

/** Shows the login view: there is no session any more. */
export function forget() {
  clearDrafts();
  become(null);
}

let asking = null;

/** `ask` opens the dialog that logs in again; however many requests need it, it is opened once. */
export function setLoginAgain(ask) {
  onSessionEnd(() => {
    asking ??= ask().finally(() => {
      asking = null;
    });
    return asking;
  });
}
