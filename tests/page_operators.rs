//! Operators on the page: made, given new tokens and login links, and removed, with a second browser for the other one.

use crate::support::browser::hook;
use crate::support::page::operator;
use crate::support::{Browser, Page};

#[test]
fn operators_are_managed_on_the_page() {
    let page = Page::start();
    page.go("operators");
    page.see_text(&hook("operators"), "ada");
    page.click(&hook("add-operator"));
    page.click(&hook("save"));
    page.see(&hook("error-name"));
    page.fill(&hook("operator-name"), "bob");
    page.choose(&hook("operator-role"), "viewer");
    page.click(&hook("save"));
    let told = |page: &Page| {
        let token = page.text(&hook("operator-token"));
        page.plane.secrets.learn(&token);
        page.click(&hook("copy-operator-token"));
        page.see_text(&hook("copy-operator-token"), "Copied");
        assert_eq!(page.clipboard(), token);
        page.click(&hook("done"));
        page.see_gone("dialog");
        token
    };
    let first = told(&page);
    let status = |token: &str| page.plane.anonymous().bearer(token).get("/v1/nodes").status;
    assert_eq!(status(&first), 200);
    let bob = first[4..16].to_owned();
    page.see_text(&operator(&bob), "viewer");

    page.choose_for_operator(&bob, "menu-rotate");
    page.click(&hook("confirm"));
    let second = told(&page);
    assert_eq!((status(&first), status(&second)), (401, 200));

    page.choose_for_operator(&bob, "menu-remove");
    page.confirm_by("bob");
    page.see_gone(&operator(&bob));
    assert_eq!(status(&second), 401);
    assert_eq!(page.complaints(), [""; 0]);
}

#[test]
fn a_login_link_opens_one_session_in_another_browser_until_the_operator_is_removed() {
    let page = Page::start();
    page.go("operators");
    let vic = page.plane.viewer.id.clone();
    page.choose_for_operator(&vic, "menu-login-link");
    let link = page.text(&hook("login-link"));
    page.plane.secrets.learn(&link);
    page.click(&hook("copy-login-link"));
    page.see_text(&hook("copy-login-link"), "Copied");
    assert_eq!(page.clipboard(), link);
    page.click(&hook("done"));
    page.see_gone("dialog");

    let other = Browser::start();
    other.open(&link);
    other.see_text(&hook("account"), "vic");
    assert!(!other.url().contains("kgo_"));
    assert!(!other.shows(&hook("add-key")), "vic is a viewer");
    // Once; and whoever is logged in is asked first: somebody else may have sent the link.
    other.open("about:blank");
    other.open(&link);
    other.see_text(&hook("link-login-dialog"), "logged in as vic");
    other.click(&format!("{} {}", hook("link-login-dialog"), hook("confirm")));
    other.see_text(&hook("toast"), "used before");
    other.see_text(&hook("account"), "vic");

    page.choose_for_operator(&vic, "menu-remove");
    page.confirm_by("vic");
    page.see_gone(&operator(&vic));
    other.click(&hook("nav-nodes"));
    other.see(&hook("relogin"));
    other.click(&hook("relogin-leave"));
    other.see(&hook("login-token"));
    assert!(!other.shows(&hook("account")));
    assert_eq!((page.complaints(), other.complaints()), (vec![], vec![]));
}
