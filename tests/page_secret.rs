//! The shared secret on the page: it is there only when it was asked for, and regenerating never surprises anybody.

use serde_json::json;

use crate::support::Page;
use crate::support::browser::hook;

/// How often the secret was read, by the audit.
fn reads(page: &Page) -> usize {
    page.plane.audit("shared_secret.view").len()
}

#[test]
fn the_secret_is_fetched_only_to_be_revealed_or_copied() {
    let page = Page::start();
    page.click(&hook("shared-secret"));
    page.see(&hook("secret-value"));
    page.see(&hook("impact"));
    assert!(!page.text(&hook("secret-value")).contains(char::is_uppercase), "masked");
    page.plane.secrets.assert_absent("the page", page.page_source().as_bytes());
    assert_eq!(reads(&page), 0);
    page.click(&hook("reveal-secret"));
    page.see_text(&hook("secret-value"), "kgs_1_");
    page.see_text(&hook("reveal-secret"), "Hide");
    let revealed = page.text(&hook("secret-value"));
    assert_eq!(reads(&page), 1);
    page.click(&hook("reveal-secret"));
    page.see_text(&hook("reveal-secret"), "Reveal");
    assert!(!page.page_source().contains(&revealed), "hidden is gone");
    page.click(&hook("copy-secret"));
    page.see_text(&hook("copy-secret"), "Copied");
    assert_eq!(page.clipboard(), revealed);
    assert_eq!(reads(&page), 2);
    assert!(!page.page_source().contains(&revealed), "copied, not shown");
    page.click(&hook("cancel"));
    page.see_gone("dialog");
    // Read last, since reading is counted.
    assert_eq!(revealed, page.plane.shared_secret());
    page.plane.secrets.assert_absent("the page", page.page_source().as_bytes());
}

#[test]
fn with_grace_old_keys_go_on_until_it_is_ended() {
    let page = Page::start();
    let told = page.add_key("app", "ADMIN");
    page.click(&hook("shared-secret"));
    page.click(&hook("regenerate"));
    page.choose(&hook("grace-period"), "24h");
    page.fill(&hook("confirm-word"), "REGENERATE");
    page.click(&hook("confirm-regenerate"));
    page.see(&hook("regenerated"));
    page.see(&hook("grace"));
    assert_eq!(page.plane.admits(&told.encoded), 200);
    page.click(&hook("show-new-secret"));
    page.see_text(&hook("secret-version"), "2");
    page.click(&hook("end-grace"));
    page.click(&format!("{} {}", hook("end-grace-dialog"), hook("confirm")));
    page.see_gone(&hook("end-grace"));
    assert_eq!(page.plane.admits(&told.encoded), 401);
}

#[test]
fn who_regenerates_what_somebody_else_has_just_regenerated_is_told_and_does_not() {
    let page = Page::start();
    page.click(&hook("shared-secret"));
    page.click(&hook("regenerate"));
    page.fill(&hook("confirm-word"), "REGENERATE");
    page.plane.json(&["secret", "regenerate", "--yes"]);
    page.click(&hook("confirm-regenerate"));
    page.see(&hook("version-conflict"));
    assert_eq!(page.plane.json(&["secret", "show"])["version"], json!(2));
    page.see_text(&hook("secret-version"), "2");
}

#[test]
fn while_a_node_is_waited_for_the_page_shows_which() {
    let page = Page::start();
    let other = page.plane.serve_another(&crate::support::Config::in_front_of(&page.plane.upstream));
    crate::fleet::pause_outside_of_transactions(&other, &page.plane);
    page.click(&hook("shared-secret"));
    page.click(&hook("regenerate"));
    page.fill(&hook("confirm-word"), "REGENERATE");
    page.click(&hook("confirm-regenerate"));
    page.see_text(&format!("{}[data-standing=\"pending\"]", hook("node-confirmation")), &format!(":{}", other.pid()));
    other.resume();
    page.see_text(&hook("promise"), "Promise held");
    assert_eq!(page.texts(&hook("node-confirmation")).len(), 2);
}
