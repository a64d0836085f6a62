//! Every view and dialog of the page, light and dark, wide and narrow: axe-core finds no violation, nothing is cut off,
//! and there is a picture of it in target/screenshots/ for people to look at.

use serde_json::json;

use crate::support::Page;
use crate::support::browser::hook;
use crate::support::page::row;
use crate::support::site::text_at;

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
    page.reload();
    page.see(&hook("row"));
    page.see_text(&hook("summary"), "5 active keys · 1 disabled");
    page
}

#[test]
fn the_views() {
    let page = Page::logged_out(crate::support::Plane::start());
    page.see(&hook("login-token"));
    page.look("login");
    page.log_in(&page.plane.admin);
    page.see(&hook("empty"));
    page.look("keys-empty");
    drop(page);
    let page = with_keys();
    page.look("keys");
    page.click(&hook("row-menu"));
    page.see(&hook("menu-edit"));
    page.look("key-menu");
    page.reload();
    page.fill(&hook("search"), "nothing like it");
    page.see(&hook("no-match"));
    page.look("keys-no-match");
    for view in ["nodes", "audit", "operators"] {
        page.go(view);
        page.see(&format!("{} td", hook(view)));
        page.look(view);
    }
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn the_dialogs_of_keys() {
    let page = with_keys();
    page.click(&hook("add-key"));
    page.see(&hook("key-dialog"));
    page.click(&format!("{} summary", hook("limits")));
    page.look("add-key");
    page.click(&hook("save"));
    page.see(&hook("error-name"));
    page.look("add-key-errors");
    page.fill(&hook("name"), "added");
    page.choose(&hook("role"), "READONLY");
    page.click(&hook("save"));
    let told = page.told();
    page.look("issued");
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
        page.look(entry);
        page.click(&hook("cancel"));
        page.see_gone("dialog");
    }
    page.click(&format!("{} {}", row(id), hook("row-name")));
    page.see_text(&hook("details-dialog"), id);
    page.look("key-details");
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn the_dialogs_of_the_shared_secret_and_of_operators() {
    let page = with_keys();
    page.click(&hook("shared-secret"));
    page.see(&hook("impact"));
    page.look("shared-secret");
    page.click(&hook("regenerate"));
    page.fill(&hook("confirm-word"), "REGENERATE");
    page.look("regenerate");
    page.click(&hook("confirm-regenerate"));
    page.see_text(&hook("promise"), "Promise held");
    page.look("regenerated");
    for language in ["shell", "python", "javascript"] {
        page.click(&hook(&format!("recipe-{language}")));
        page.see(&hook(&format!("recipe-{language}-code")));
        page.assert_fits(language);
    }
    page.click(&hook("done"));
    page.see_gone("dialog");
    page.go("operators");
    page.click(&hook("add-operator"));
    page.see(&hook("operator-dialog"));
    page.look("add-operator");
    page.click(&hook("cancel"));
    page.see_gone("dialog");
    page.click(&hook("operator-menu"));
    page.click(&hook("menu-rotate"));
    page.see(&hook("rotate-dialog"));
    page.look("rotate-operator");
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn what_is_asked_and_told_seldom() {
    let page = with_keys();
    let legacy = page.plane.key_add("legacy", "ADMIN");
    // Grace, and its end.
    page.click(&hook("shared-secret"));
    page.click(&hook("regenerate"));
    page.choose(&hook("grace-period"), "24h");
    page.fill(&hook("confirm-word"), "REGENERATE");
    page.plane.json(&["secret", "regenerate", "--grace", "1h", "--yes"]);
    page.click(&hook("confirm-regenerate"));
    page.see(&hook("version-conflict"));
    page.see(&hook("grace"));
    page.look("version-conflict");
    page.click(&hook("cancel"));
    page.see_gone("dialog");
    page.see_text(&hook("summary"), "version 1 in grace");
    page.click(&hook("shared-secret"));
    page.click(&hook("end-grace"));
    page.see(&hook("end-grace-dialog"));
    page.look("end-grace");
    page.click(&format!("{} {}", hook("end-grace-dialog"), hook("confirm")));
    page.see_gone(&hook("end-grace"));
    page.click(&hook("cancel"));
    page.see_gone("dialog");
    // A key that still sends an old version, and one that was rolled.
    assert_eq!(page.plane.admits(&legacy.encoded), 401);
    page.reload();
    page.see_text(&hook("row-stale"), "still sends secret version 1");
    page.see_text(&hook("summary"), "1 on an old secret version");
    page.look("keys-stale");
    let id = text_at(&page.plane.api().get("/v1/api-keys?q=mobile").json()["api_keys"][0], "id");
    page.choose_in_menu(&id, "menu-roll");
    page.confirm_by("mobile app");
    page.told();
    page.see_text(&hook("promise"), "Promise held");
    page.look("rolled");
    page.click(&hook("done"));
    page.see(&hook("stored-question"));
    page.look("stored-question");
    page.click(&format!("{} {}", hook("stored-question"), hook("confirm")));
    page.see_gone("dialog");
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn the_dialogs_of_operators() {
    let mut page = Page::start();
    page.go("operators");
    let vic = page.plane.viewer.id.clone();
    page.choose_for_operator(&vic, "menu-login-link");
    page.see(&hook("login-link"));
    page.look("login-link");
    page.click(&hook("copy-login-link"));
    page.click(&hook("done"));
    page.see_gone("dialog");
    page.choose_for_operator(&vic, "menu-rotate");
    page.click(&hook("confirm"));
    page.plane.secrets.learn(&page.text(&hook("operator-token")));
    page.look("operator-token");
    page.click(&hook("copy-operator-token"));
    page.click(&hook("done"));
    page.see_gone("dialog");
    page.choose_for_operator(&vic, "menu-remove");
    page.see(&hook("remove-dialog"));
    page.look("remove-operator");
    page.click(&hook("cancel"));
    page.see_gone("dialog");
    page.end_sessions();
    page.go("nodes");
    page.see(&hook("relogin"));
    page.look("relogin");
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn what_a_viewer_sees() {
    let page = with_keys();
    page.click(&hook("account"));
    page.click(&hook("logout"));
    page.log_in(&page.plane.viewer);
    page.see(&hook("row"));
    page.look("viewer-keys");
    page.click(&hook("row-name"));
    page.see_text(&hook("details-dialog"), "Created");
    page.look("viewer-key-details");
    page.click(&hook("close"));
    page.see_gone("dialog");
    page.click(&hook("shared-secret"));
    page.see(&hook("secret-age"));
    page.look("viewer-shared-secret");
    page.click(&hook("cancel"));
    page.see_gone("dialog");
    page.go("audit");
    page.see(&hook("audit-row"));
    page.look("viewer-audit");
    page.open(&format!("{}/#/operators", page.plane.anonymous().origin()));
    page.see(&hook("forbidden"));
    page.look("viewer-operators");
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn on_a_narrow_screen_nothing_is_cut_off() {
    let page = with_keys();
    let login = Page::logged_out(crate::support::Plane::start());
    for (width, size) in [(390, "narrow"), (320, "narrowest")] {
        login.resize(width, 844);
        login.see(&hook("login-token"));
        login.look(&format!("{size}-login"));
        login.assert_fits("login");
        page.resize(width, 844);
        for view in ["keys", "nodes", "audit", "operators"] {
            page.go(view);
            page.see(&hook(view));
            page.see_gone(".skeleton");
            page.look(&format!("{size}-{view}"));
            page.assert_fits(view);
        }
        page.go("keys");
        page.see(&hook("row"));
        page.click(&hook("filters-toggle"));
        page.see(&hook("filter-role"));
        page.look(&format!("{size}-filters"));
        page.assert_fits("filters");
        page.click(&hook("filters-toggle"));
        for (opener, dialog, close) in [
            ("row-name", "details-dialog", "close"),
            ("add-key", "key-dialog", "cancel"),
            ("shared-secret", "secret-dialog", "cancel"),
        ] {
            page.click(&hook(opener));
            page.see(&hook(dialog));
            page.see_gone(".loading");
            page.look(&format!("{size}-{dialog}"));
            page.assert_fits(dialog);
            page.click(&hook(close));
            page.see_gone("dialog");
        }
    }
    let told = page.add_key("narrow", "ADMIN");
    page.choose_in_menu(&told.app_key[4..16], "menu-roll");
    page.confirm_by("narrow");
    page.told();
    page.look("narrowest-issued");
    page.assert_fits("what is shown once");
}
