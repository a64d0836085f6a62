// Starts the page: logs in, draws the header, follows the address.

import { connection } from "./api.js";
import { confirm, consequences } from "./confirm.js";
import { button, fill, h, icon } from "./dom.js";
import { drawHeader } from "./header.js";
import { startRouter } from "./router.js";
import { changes, currentOperator, login, resume, setLoginAgain } from "./session.js";
import { emptyState } from "./table.js";
import { toast } from "./toast.js";
import { mountAudit } from "./views/audit.js";
import { mountKeys } from "./views/keys.js";
import { askLoginAgain, mountLogin, takeTokenFromAddress } from "./views/login.js";
import { mountNodes } from "./views/nodes.js";
import { mountOperators } from "./views/operators.js";

const main = document.getElementById("main");
const header = document.getElementById("header");
const router = startRouter(main, {
  keys: { title: "API Keys", mount: mountKeys },
  nodes: { title: "Nodes", mount: mountNodes },
  audit: { title: "Audit", mount: mountAudit },
  operators: { title: "Operators", mount: mountOperators },
});

/** Shows what the operator who is logged in may see, or the login view. */
function draw(message) {
  drawHeader(header);
  if (currentOperator()) {
    router.show();
    if (message) toast(message, "error");
  } else {
    router.stop();
    mountLogin(main, message);
  }
}

async function start() {
  const token = takeTokenFromAddress();
  let message;
  let link = token;
  try {
    await resume();
  } catch (error) {
    if (error.status !== 401) return showStartError(error);
    link = null;
    if (token) await login(token).catch((refused) => (message = refusedLink(refused)));
  }
  changes.addEventListener("changed", () => draw());
  draw(message);
  if (link) followLink(link);
}

/** A link may come from somebody who wants an operator to work under another name: whoever is logged in is asked. */
function followLink(token) {
  if (!currentOperator()) return login(token).catch((error) => mountLogin(main, refusedLink(error)));
  return confirm({
    title: "Log in with this link?",
    test: "link-login-dialog",
    danger: false,
    verb: "Log in",
    consequences: consequences([
      `You are logged in as ${currentOperator().name}. The link logs you in as the operator whom it was made for.`,
      "Go on only if you asked for it.",
    ]),
    act: () => login(token).catch((error) => toast(refusedLink(error), "error")),
  });
}

const refusedLink = (error) =>
  error.status === 401
    ? "This login link was used before or has expired. Paste a token, or ask for a new link."
    : error.message;

function showStartError(error) {
  fill(
    main,
    emptyState({
      symbol: "warning",
      title: "The gateway cannot be reached",
      text: error.message,
      isError: true,
      test: "start-error",
      action: button("Try again", { look: "primary", symbol: "refresh", test: "retry", onClick: start }),
    }),
  );
}

const line = document.getElementById("connection");
connection.addEventListener("offline", () => {
  if (line.childElementCount) return;
  fill(line, icon("warning"), h("span", {}, "Connection lost. Trying again; nothing that you typed is lost."));
});
connection.addEventListener("online", () => fill(line));

// The address holds views, so the skip link must not go through it.
document.querySelector(".skip-link").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", async () => {
  const token = takeTokenFromAddress();
  if (token) await followLink(token);
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, dialog, [role=menu]");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const search = main.querySelector("input[type=search]");
  if (search) {
    event.preventDefault();
    search.focus();
    search.select();
  }
});
setLoginAgain(askLoginAgain);
start();
