// Views by the fragment of the address: `#/keys?q=billing`. A view is `mount(main, params)`, which returns
// `{update?(params), unmount?()}`.

let routes = {};
let main = null;
let active = null;

/** The view's name and parameters in the address. */
export function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { name: path in routes ? path : Object.keys(routes)[0], params: new URLSearchParams(query) };
}

/** Begins to follow the address. Returns what shows the present view anew. */
export function startRouter(element, table) {
  main = element;
  routes = table;
  window.addEventListener("hashchange", () => active && show());
  return { show: () => show(true), stop: leave };
}

/** Changes the parameters of the view that is shown, without a step in the history. */
export function setParams(params) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value)).toString();
  history.replaceState(null, "", `#/${place().name}${query ? `?${query}` : ""}`);
}

function show(anew = false) {
  if (location.hash === "#main") return;
  const { name, params } = place();
  if (!anew && active?.name === name) {
    active.view.update?.(params);
    return;
  }
  const first = active === null;
  leave();
  const { title, mount } = routes[name];
  document.title = `${title} · keygate`;
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  active = { name, view: mount(main, params) };
  window.scrollTo(0, 0);
  if (!first) main.querySelector("h1")?.focus({ preventScroll: true });
}

function leave() {
  active?.view.unmount?.();
  active = null;
  main?.replaceChildren();
}
