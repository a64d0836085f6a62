// Light, dark, or as the system says. Loaded before the first paint, so that nothing flashes.

const NAME = "theme";

/** "light", "dark" or "system". */
export function theme() {
  try {
    return localStorage.getItem(NAME) ?? "system";
  } catch {
    return "system";
  }
}

export function setTheme(choice) {
  try {
    localStorage.setItem(NAME, choice);
  } catch {
    // Not kept, but applied.
  }
  apply(choice);
}

function apply(choice) {
  if (choice === "light" || choice === "dark") document.documentElement.dataset.theme = choice;
  else delete document.documentElement.dataset.theme;
}

apply(theme());
