//! The page without a mouse: everything is reached with Tab and done with keys, the focus never leaves an open dialog and
//! goes back to where it came from; and without motion for whoever wants none.

use fantoccini::key::Key;
use serde_json::Value;

use crate::support::browser::hook;
use crate::support::page::row;
use crate::support::{Page, wait_for};

/// Waits for the focus: a dialog gives it back when it has closed.
#[track_caller]
fn see_focus(page: &Page, css: &str) {
    wait_for(&format!("{css} has the focus"), || page.has_focus(css));
}

#[test]
fn a_key_is_added_by_keyboard_alone() {
    let page = Page::start();
    page.see(&hook("empty"));
    page.tab_to(&hook("add-key"));
    page.press(&Key::Enter.to_string());
    page.see(&hook("name"));
    assert!(page.has_focus(&hook("name")), "the first field has the focus: {}", page.focus());
    page.press("keyboard");
    page.tab_to(&hook("role"));
    page.press("R");
    page.tab_to(&hook("save"));
    page.press(&Key::Enter.to_string());
    let told = page.told();
    page.tab_to(&hook("copy-encoded-key"));
    page.press(&Key::Enter.to_string());
    page.see_text(&hook("copy-encoded-key"), "Copied");
    page.press(&Key::Escape.to_string());
    page.see_gone("dialog");
    let id = &told.app_key[4..16];
    page.see_text(&row(id), "READONLY");
    assert_eq!(page.plane.admits(&told.encoded), 200);
    // The menu, by its keys; Escape leaves it where it was opened.
    page.tab_to(&hook("row-menu"));
    page.press(&Key::Enter.to_string());
    page.press(&Key::Down.to_string());
    assert!(page.has_focus(&hook("menu-roll")), "{}", page.focus());
    page.press(&Key::Escape.to_string());
    assert!(page.has_focus(&hook("row-menu")), "{}", page.focus());
    page.press(&Key::Enter.to_string());
    page.press(&Key::End.to_string());
    page.press(&Key::Enter.to_string());
    page.see(&hook("delete-dialog"));
    page.press("keyboard");
    page.press(&Key::Enter.to_string());
    page.see_gone("dialog");
    assert_eq!(page.plane.admits(&told.encoded), 401);
}

#[test]
fn a_key_is_rolled_and_the_secret_regenerated_by_keyboard_alone() {
    let page = Page::start();
    let id = page.has_key("app");
    page.reload();
    page.see(&row(&id));
    page.tab_to(&hook("row-menu"));
    page.press(&Key::Enter.to_string());
    page.press("r");
    assert!(page.has_focus(&hook("menu-roll")), "the first letter leads there: {}", page.focus());
    page.press(&Key::Enter.to_string());
    see_focus(&page, &hook("confirm-name"));
    page.press("app");
    page.press(&Key::Enter.to_string());
    let rolled = page.told();
    assert_eq!(page.plane.admits(&rolled.encoded), 200);
    see_focus(&page, &hook("copy-encoded-key"));
    page.press(&Key::Enter.to_string());
    page.see_text(&hook("copy-encoded-key"), "Copied");
    page.press(&Key::Escape.to_string());
    page.see_gone("dialog");
    see_focus(&page, &hook("row-menu"));

    page.tab_to("[data-test=nav-keys]");
    page.tab_to(&hook("shared-secret"));
    page.press(&Key::Enter.to_string());
    page.see(&hook("impact"));
    page.tab_to(&hook("reveal-secret"));
    page.press(&Key::Space.to_string());
    page.see_text(&hook("secret-value"), "kgs_1_");
    page.plane.secrets.learn(&page.text(&hook("secret-value")));
    page.tab_to(&hook("regenerate"));
    page.press(&Key::Enter.to_string());
    see_focus(&page, &hook("confirm-word"));
    page.press("REGENERATE");
    page.press(&Key::Enter.to_string());
    page.see_text(&hook("promise"), "Promise held");
    assert_eq!(page.plane.admits(&rolled.encoded), 401);
    page.tab_to(&hook("recipe-shell"));
    page.press(&Key::Right.to_string());
    assert!(page.has_focus(&hook("recipe-python")), "{}", page.focus());
    page.see(&hook("recipe-python-code"));
    page.press(&Key::Escape.to_string());
    page.see_gone("dialog");
    see_focus(&page, &hook("shared-secret"));
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn the_focus_stays_in_a_dialog_and_returns_to_where_it_came_from() {
    let page = Page::start();
    let id = page.has_key("app");
    page.reload();
    page.see(&row(&id));
    let outside = "const e = document.activeElement; return e !== document.body && !e.closest('dialog')";
    for (opener, entry, dialog) in [
        ("add-key", "", "key-dialog"),
        ("shared-secret", "", "secret-dialog"),
        ("row-name", "", "details-dialog"),
        ("row-menu", "menu-edit", "key-dialog"),
        ("row-menu", "menu-roll", "roll-dialog"),
        ("row-menu", "menu-disable", "disable-dialog"),
        ("row-menu", "menu-delete", "delete-dialog"),
        ("nav-operators", "", ""),
        ("add-operator", "", "operator-dialog"),
        ("operator-menu", "menu-rotate", "rotate-dialog"),
        ("operator-menu", "menu-remove", "remove-dialog"),
    ] {
        page.click(&hook(opener));
        if !entry.is_empty() {
            page.click(&hook(entry));
        }
        if dialog.is_empty() {
            continue;
        }
        page.see(&hook(dialog));
        page.see_gone(".loading");
        for _ in 0..12 {
            page.press(&Key::Tab.to_string());
            assert_eq!(page.eval(outside), false, "{dialog}: {}", page.focus());
        }
        // The browser's own bar may have the focus now.
        page.eval("document.querySelector('dialog[open] button').focus()");
        page.press(&Key::Escape.to_string());
        page.see_gone("dialog");
        see_focus(&page, &hook(opener));
    }
}

#[test]
fn who_wants_no_motion_sees_none() {
    let page = Page::start();
    assert_eq!(page.eval("return matchMedia('(prefers-reduced-motion: reduce)').matches"), true);
    page.click(&hook("add-key"));
    page.see(&hook("key-dialog"));
    let longest = "const seconds = s => Math.max(...s.split(',').map(parseFloat)); \
        return [...document.querySelectorAll('*')].map(e => getComputedStyle(e)) \
          .map(s => Math.max(seconds(s.animationDuration), seconds(s.transitionDuration))) \
          .reduce((a, b) => Math.max(a, b))";
    let Value::Number(seconds) = page.eval(longest) else { panic!("a number") };
    assert!(seconds.as_f64().is_some_and(|s| s < 0.001), "{seconds} s");
}
