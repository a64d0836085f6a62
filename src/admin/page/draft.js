// What was typed and not yet saved, kept for this tab: it survives a reload, a lost session and a closed dialog.
// Never here: secrets. Only the forms that make or edit records use it.

const PREFIX = "draft:";

/** The values typed into this form before, or null. */
export function readDraft(name) {
  try {
    return JSON.parse(sessionStorage.getItem(PREFIX + name));
  } catch {
    return null;
  }
}

/** Keeps the values of a form. */
export function saveDraft(name, values) {
  try {
    sessionStorage.setItem(PREFIX + name, JSON.stringify(values));
  } catch {
    // Storage is full or forbidden: the form itself still holds what was typed.
  }
}

export function dropDraft(name) {
  try {
    sessionStorage.removeItem(PREFIX + name);
  } catch {
    // As above.
  }
}

export function clearDrafts() {
  try {
    Object.keys(sessionStorage)
      .filter((key) => key.startsWith(PREFIX))
      .forEach((key) => sessionStorage.removeItem(key));
  } catch {
    // As above.
  }
}
