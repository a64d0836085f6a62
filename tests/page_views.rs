//! Every view and dialog of the page, light and dark, wide and narrow: axe-core finds no violation, nothing is cut off,
//! and there is a picture of it in target/screenshots/ for people to look at.

use serde_json::json;

use crate::support::Page;
use crate::support::browser::hook;
use crate::support::page::row;

/// Looks at what is shown now, in both appearances.
#[track_caller]
fn look(page: &Page, view: &str) {
    for scheme in ["light", "dark"] {
        page.prefer(scheme);
        page.assert_accessible(&format!("{view}, {scheme}"));
        page.picture(&format!("{view}-{scheme}"));
    }
}

/// Keys of all kinds, some of which were used.
fn with_keys() -> Page {
    let page = Page::start();
    let api = page.plane.api();
    for (n, name) in ["billing", "ci", "mobile app", "nightly reports", "partner portal", "webhooks"].iter().enumerate()
    {
        let role = ["READONLY", "ADMIN"][n % 2];
        let key = api
            .post("/v1/api-keys", &json!({ "name": name, "role": role, "description": format!("What {name} does") }))
            .json();
        if n % 3 > 0 {
            page.plane.admits(key["encoded_key"].as_str().expect("a key"));
        }
        if n == 4 {
            api.act(&format!("/v1/api-keys/{}/disable", key["id"].as_str().expect("an id")));
        }
    }
    page
}

#[test]
fn the_views() {
    let page = Page::logged_out(crate::support::Plane::start());
    page.see(&hook("login-token"));
    look(&page, "login");
    page.log_in(&page.plane.admin);
    page.see(&hook("empty"));
    look(&page, "keys-empty");
    drop(page);
    let page = with_keys();
    page.reload();
    page.see(&hook("row"));
    look(&page, "keys");
    page.click(&hook("row-menu"));
    page.see(&hook("menu-edit"));
    look(&page, "key-menu");
    page.reload();
    page.fill(&hook("search"), "nothing like it");
    page.see(&hook("no-match"));
    look(&page, "keys-no-match");
    for view in ["nodes", "audit", "operators"] {
        page.go(view);
        page.see(&format!("{} td", hook(view)));
        look(&page, view);
    }
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn the_dialogs_of_keys() {
    let page = with_keys();
    page.reload();
    page.click(&hook("add-key"));
    page.see(&hook("key-dialog"));
    page.click(&format!("{} summary", hook("limits")));
    look(&page, "add-key");
    page.click(&hook("save"));
    page.see(&hook("error-name"));
    look(&page, "add-key-errors");
    page.fill(&hook("name"), "added");
    page.choose(&hook("role"), "READONLY");
    page.click(&hook("save"));
    let told = page.told();
    look(&page, "issued");
    page.click(&hook("copy-encoded-key"));
    page.click(&hook("done"));
    page.see_gone("dialog");
    let id = &told.app_key[4..16];
    for (entry, dialog) in [
        ("menu-edit", "key-dialog"),
        ("menu-roll", "roll-dialog"),
        ("menu-disable", "disable-dialog"),
        ("menu-delete", "delete-dialog"),
    ] {
        page.choose_in_menu(id, entry);
        page.see(&hook(dialog));
        look(&page, entry);
        page.click(&hook("cancel"));
        page.see_gone("dialog");
    }
    page.click(&format!("{} {}", row(id), hook("row-name")));
    page.see_text(&hook("details-dialog"), id);
    look(&page, "key-details");
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn the_dialogs_of_the_shared_secret_and_of_operators() {
    let page = with_keys();
    page.click(&hook("shared-secret"));
    page.see(&hook("impact"));
    look(&page, "shared-secret");
    page.click(&hook("regenerate"));
    page.fill(&hook("confirm-word"), "REGENERATE");
    look(&page, "regenerate");
    page.click(&hook("confirm-regenerate"));
    page.see_text(&hook("promise"), "Promise held");
    look(&page, "regenerated");
    page.click(&hook("done"));
    page.see_gone("dialog");
    page.go("operators");
    page.click(&hook("add-operator"));
    page.see(&hook("operator-dialog"));
    look(&page, "add-operator");
    page.click(&hook("cancel"));
    page.see_gone("dialog");
    page.click(&hook("operator-menu"));
    page.click(&hook("menu-rotate"));
    page.see(&hook("rotate-dialog"));
    look(&page, "rotate-operator");
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn on_a_narrow_screen_nothing_is_cut_off() {
    let page = with_keys();
    page.resize(390, 844);
    let overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
    for view in ["keys", "nodes", "audit", "operators"] {
        page.open(&format!("{}/#/{view}", page.plane.anonymous().origin()));
        page.see(&hook(view));
        look(&page, &format!("narrow-{view}"));
        assert_eq!(page.eval(overflow), 0, "{view} is wider than the screen");
    }
    page.open(&format!("{}/#/keys", page.plane.anonymous().origin()));
    page.click(&hook("add-key"));
    page.see(&hook("key-dialog"));
    look(&page, "narrow-add-key");
    assert_eq!(page.eval(overflow), 0, "the dialog is wider than the screen");
}
