//! The bundle on the page: shown once beside the keys where tokens are exchanged, and nowhere where they are not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fantoccini::key::Key;
use serde_json::Value;

use crate::support::admin::Plane;
use crate::support::browser::hook;
use crate::support::exchange::{SHORTNAME, exchange, issued, jwt};
use crate::support::page::row;
use crate::support::{Config, Page, Upstream, site};

fn page() -> Page {
    let upstream = Upstream::echo();
    let config = Config::in_front_of(&upstream).token_exchange("");
    Page::of(Plane::of(upstream, &config))
}

#[track_caller]
fn members(bundle: &str) -> Value {
    serde_json::from_slice(&STANDARD.decode(bundle).expect("base64")).expect("JSON")
}

/// Does a JWT of what this bundle says give a token that works?
#[track_caller]
fn assert_exchanged(page: &Page, bundle: &str) {
    let members = members(bundle);
    assert_eq!(members["shortname"], SHORTNAME);
    let app_key = site::text_at(&members, "appkey");
    let key = site::Key {
        id: app_key[4..16].to_owned(),
        name: site::text_at(&members, "appname"),
        encoded: String::new(),
        app_key,
    };
    let signed = jwt(&key, members["sharedsecret"].as_str().expect("text")).text();
    let response = page.plane.node.send(&exchange(&signed));
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(page.plane.admits(&issued(&page.plane.secrets, &response).access), 200);
}

#[test]
fn the_bundle_of_a_new_key_and_of_a_rolled_one_is_shown_once_and_copied() {
    let page = page();
    page.click(&hook("add-key"));
    page.fill(&hook("name"), "orders");
    page.choose(&hook("role"), "READONLY");
    page.click(&hook("save"));
    let shown = page.text(&hook("bundle"));
    page.plane.secrets.learn(&shown);
    let told = page.told();
    page.click(&hook("copy-bundle"));
    page.see_text(&hook("copy-bundle"), "Copied");
    assert_eq!(page.clipboard(), shown);
    assert_eq!(members(&shown)["appkey"], told.app_key.as_str());
    assert_exchanged(&page, &shown);
    page.look("issued-with-bundle");
    for (width, height) in [(1280, 800), (390, 844), (320, 640)] {
        page.resize(width, height);
        page.assert_fits(&format!("the bundle at {width}"));
    }
    page.resize(1280, 800);
    page.click(&hook("done"));
    page.see_gone(&hook("bundle"));
    assert!(page.plane.secrets.find(page.page_source().as_bytes()).is_none(), "shown once");

    let id = told.app_key[4..16].to_owned();
    page.choose_in_menu(&id, "menu-roll");
    page.confirm_by("orders");
    let rolled = page.text(&hook("bundle"));
    page.plane.secrets.learn(&rolled);
    page.told();
    assert_ne!(rolled, shown);
    assert_exchanged(&page, &rolled);
    page.click(&hook("copy-bundle"));
    page.see_text(&hook("copy-bundle"), "Copied");
    page.click(&hook("done"));
    page.see_gone("dialog");

    // REGENERATE says what becomes of bundles.
    page.click(&hook("shared-secret"));
    page.click(&hook("regenerate"));
    page.fill(&hook("confirm-word"), "REGENERATE");
    page.click(&hook("confirm-regenerate"));
    page.see_text(&hook("recipe-bundle"), "keygate bundle encode");
    page.click(&hook("done"));
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn the_bundle_is_reached_and_copied_by_keyboard_and_has_a_name_for_screen_readers() {
    let page = page();
    page.click(&hook("add-key"));
    page.fill(&hook("name"), "orders");
    page.choose(&hook("role"), "ADMIN");
    page.tab_to(&hook("save"));
    page.press(&Key::Enter.to_string());
    let shown = page.text(&hook("bundle"));
    page.plane.secrets.learn(&shown);
    page.told();
    let label = page.eval(&format!("return document.querySelector('{}').getAttribute('aria-label')", hook("bundle")));
    assert_eq!(label, "Bundle");
    page.tab_to(&hook("bundle"));
    page.tab_to(&hook("copy-bundle"));
    page.press(&Key::Enter.to_string());
    page.see_text(&hook("copy-bundle"), "Copied");
    assert_eq!(page.clipboard(), shown);
    page.press(&Key::Escape.to_string());
    page.see_gone("dialog");
}

#[test]
fn where_tokens_are_not_exchanged_there_is_no_bundle() {
    let page = Page::start();
    let told = page.add_key("app", "ADMIN");
    page.choose_in_menu(&told.app_key[4..16], "menu-roll");
    page.confirm_by("app");
    page.told();
    assert!(!page.shows(&hook("bundle")) && !page.page_text().contains("undle"), "{}", row(&told.app_key[4..16]));
}
