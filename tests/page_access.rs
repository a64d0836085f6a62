//! The page and who looks at it: what a viewer does not see, sessions that end while something is typed, lost
//! connections, and what the page is allowed by its own policy.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::admin::Plane;
use crate::support::browser::hook;
use crate::support::page::row;
use crate::support::site::text_at;
use crate::support::{Page, wait_for, wait_for_some};

#[test]
fn without_a_login_the_page_shows_nothing() {
    let plane = Plane::start();
    plane.key_add("hidden-name", "admin");
    let page = Page::logged_out(plane);
    page.see(&hook("login-token"));
    assert!(!page.page_source().contains("hidden-name"));
    page.fill(&hook("login-token"), &format!("kgo_{}_{}", page.plane.admin.id, "x".repeat(43)));
    page.click(&hook("login"));
    page.see(&hook("error-token"));
    assert!(!page.shows(&hook("account")));
    page.log_in(&page.plane.admin);
    page.see_text(&hook("row"), "hidden-name");
    page.click(&hook("account"));
    page.click(&hook("logout"));
    page.see(&hook("login-token"));
    page.reload();
    page.see(&hook("login-token"));
    page.plane.secrets.assert_absent("the page", page.page_source().as_bytes());
}

#[test]
fn a_viewer_sees_neither_secrets_nor_forms() {
    let plane = Plane::start();
    let key = plane.key_add("app", "admin");
    let page = Page::logged_out(plane);
    page.log_in(&page.plane.viewer);
    page.see_text(&row(&key.id), "app");
    for absent in ["add-key", "row-menu", "nav-operators"] {
        assert!(!page.shows(&hook(absent)), "{absent}");
    }
    page.click(&hook("shared-secret"));
    assert_eq!(page.text(&hook("secret-version")), "1");
    page.see(&hook("secret-age"));
    for absent in ["secret-value", "reveal-secret", "copy-secret", "regenerate", "end-grace"] {
        assert!(!page.shows(&hook(absent)), "{absent}");
    }
    page.click(&hook("cancel"));
    page.see_gone("dialog");
    page.open(&format!("{}/#/operators", page.plane.anonymous().origin()));
    page.see(&hook("forbidden"));
    for view in ["nodes", "audit", "keys"] {
        page.go(view);
        page.see(&hook(view));
        assert!(!page.shows(
            "main form input:not([type=search], [type=text], [type=number], [type=checkbox], [type=datetime-local])"
        ));
        page.plane.secrets.assert_absent(view, page.page_source().as_bytes());
    }
}

#[test]
fn a_login_link_logs_in_once_and_leaves_no_trace_in_the_address() {
    let plane = Plane::start();
    let link = plane.api().act(&format!("/v1/operators/{}/login-link", plane.admin.id)).json();
    let url = text_at(&link, "url");
    let page = Page::logged_out(plane);
    page.open("about:blank");
    page.open(&url);
    page.see(&hook("account"));
    assert!(!page.url().contains("kgo_"));
    page.click(&hook("account"));
    page.click(&hook("logout"));
    page.see(&hook("login-token"));
    page.open("about:blank");
    page.open(&url);
    page.see(&hook("login-message"));
    assert!(!page.url().contains("kgo_") && !page.shows(&hook("account")));
}

#[test]
fn a_session_that_ends_loses_nothing_that_was_typed() {
    let mut page = Page::start();
    page.click(&hook("add-key"));
    page.fill(&hook("name"), "typed before");
    page.fill(&hook("description"), "and not lost");
    page.choose(&hook("role"), "ADMIN");
    page.end_sessions();
    page.click(&hook("save"));
    page.see(&hook("relogin"));
    page.log_in_again(&page.plane.admin.token);
    page.see_text(&hook("form-error"), "Nothing has been changed yet");
    assert_eq!([page.value(&hook("name")), page.value(&hook("description"))], ["typed before", "and not lost"]);
    assert_eq!(page.plane.api().get("/v1/api-keys").json()["api_keys"].as_array().map(Vec::len), Some(0));
    page.click(&hook("save"));
    page.told();
    assert_eq!(page.plane.api().get("/v1/api-keys").json()["api_keys"][0]["name"], "typed before");
    page.click(&hook("copy-encoded-key"));
    page.click(&hook("done"));
    page.see_text(&hook("row"), "typed before");
    // What is only looked at comes by itself after the login.
    page.end_sessions();
    page.go("nodes");
    page.see(&hook("relogin"));
    page.log_in_again(&page.plane.admin.token);
    page.see_text(&hook("nodes"), "Up to date");
}

#[test]
fn neither_a_lost_connection_nor_a_reload_loses_what_was_typed() {
    let page = Page::start();
    page.click(&hook("add-key"));
    page.fill(&hook("name"), "typed before");
    page.choose(&hook("role"), "ADMIN");
    page.online(false);
    page.click(&hook("save"));
    page.see_text(&hook("form-error"), "cannot be reached");
    assert_eq!(page.value(&hook("name")), "typed before");
    page.online(true);
    page.reload();
    page.click(&hook("add-key"));
    assert_eq!(page.value(&hook("name")), "typed before");
    page.click(&hook("save"));
    page.told();
}

#[test]
fn while_the_gateway_is_away_a_form_stays_and_is_sent_when_it_is_back() {
    let mut page = Page::start();
    page.keep_address();
    page.click(&hook("add-key"));
    page.fill(&hook("name"), "typed before");
    page.choose(&hook("role"), "ADMIN");
    page.stop_gateway();
    page.click(&hook("save"));
    page.see_text(&hook("form-error"), "cannot be reached");
    page.see_text(&hook("connection"), "Connection lost");
    page.start_gateway();
    wait_for("the page notices that it is back", || page.texts(&hook("connection")).concat().is_empty());
    assert_eq!([page.value(&hook("name")), page.value(&hook("role"))], ["typed before", "ADMIN"]);
    page.click(&hook("save"));
    page.told();
    assert_eq!(page.plane.api().get("/v1/api-keys").json()["api_keys"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_login_that_has_to_wait_says_how_long() {
    let page = Page::logged_out(Plane::start());
    let try_with = |token: &str| {
        page.fill(&hook("login-token"), token);
        page.click(&hook("login"));
    };
    let wrong = format!("kgo_{}_{}", page.plane.admin.id, "x".repeat(43));
    let told = wait_for_some("it has to wait", || {
        try_with(&wrong);
        Some(page.text(&hook("error-token"))).filter(|told| told.contains("Too many failed logins"))
    });
    let wait = regex::Regex::new(r"Try again in (1 second|\d+ seconds)\.$").unwrap();
    assert!(wait.is_match(&told), "{told}");
    page.look("login-wait");
    // What was told holds: after the wait the right token opens.
    wait_for("it is let in", || {
        try_with(&page.plane.admin.token);
        wait_for("an answer", || page.shows(&format!("{}, {}", hook("account"), hook("error-token"))));
        page.shows(&hook("account"))
    });
}

/// What the page's own looks said of themselves since this was asked last.
fn looks(page: &Page) -> Vec<Value> {
    page.eval("return (window.looks ?? []).splice(0)").as_array().cloned().unwrap_or_default()
}

#[test]
fn a_page_that_nobody_touches_keeps_no_session_alive() {
    let page = Page::start();
    page.go("nodes");
    page.see(&hook("node"));
    // A minute later by the page's clock.
    page.eval(
        "const [ask, now] = [window.fetch, Date.now]; window.looks = []; Date.now = () => now() + 61_000; \
         window.fetch = (url, options) => { \
           window.looks.push(options.headers['X-Keygate-Background'] ?? 'none'); return ask(url, options); }",
    );
    let next = |what: &str| wait_for_some(what, || Some(looks(&page)).filter(|looks| !looks.is_empty()));
    assert_eq!(next("a look in the background"), ["1"]);
    page.click("h1");
    looks(&page);
    assert_eq!(next("a look that somebody sees"), ["none"]);
}

#[test]
fn an_edit_of_what_somebody_else_changed_is_told_and_kept() {
    let page = Page::start();
    let id = page.has_key("app");
    page.reload();
    page.choose_in_menu(&id, "menu-edit");
    page.fill(&hook("description"), "mine");
    page.plane.cli(&["key", "update", "app", "--description", "theirs"]).expect(0);
    page.click(&hook("save"));
    page.see_text(&hook("form-error"), "Somebody else");
    let description = || page.plane.api().get(&format!("/v1/api-keys/{id}")).json()["description"].clone();
    assert_eq!((page.value(&hook("description")), description()), ("mine".to_owned(), "theirs".into()));
    page.click(&hook("save"));
    wait_for("the second SAVE is carried out", || description() == "mine");
}

/// What a file of the page asks for, as paths on the listener.
fn references(path: &str, text: &str) -> Vec<String> {
    let pattern =
        regex::Regex::new(r##"(?:src|href)="([^"#]+)|(?:from|import) ?\(?"([^"]+)"|url\("?([^")]+)"##).unwrap();
    let folder = &path[..=path.rfind('/').unwrap_or(0)];
    let found =
        pattern.captures_iter(text).filter_map(|c| c.iter().skip(1).flatten().next().map(|m| m.as_str().to_owned()));
    found
        .inspect(|r| assert!(!r.contains("//"), "{path} refers to another site: {r}"))
        .filter(|r| r.starts_with(['/', '.']))
        .map(|r| {
            let mut parts: Vec<&str> = if r.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
            for part in r.split('/') {
                match part {
                    "." => {}
                    ".." => {
                        parts.retain(|p| !p.is_empty());
                        parts.pop();
                    }
                    part => parts.push(part),
                }
            }
            parts.retain(|p| !p.is_empty());
            format!("/{}", parts.join("/"))
        })
        .collect()
}

#[test]
fn every_file_of_the_page_is_public_harmless_and_from_here() {
    let plane = Plane::start();
    let anonymous = plane.anonymous();
    let (mut seen, mut next) = (BTreeSet::new(), vec!["/".to_owned()]);
    while let Some(path) = next.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let response = anonymous.get(&path);
        assert_eq!(response.status, 200, "{path}");
        let policy = response.header("content-security-policy").unwrap_or_else(|| panic!("{path} has no policy"));
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{path}: {policy}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(response.header("set-cookie"), None, "{path}");
        let text = response.text();
        assert!(!text.contains(" style=\"") && !text.contains(" onclick="), "{path}: nothing is inline");
        plane.secrets.assert_absent(&path, &response.body);
        let again = anonymous.clone().field("If-None-Match", response.header("etag").expect("ETag")).get(&path);
        assert_eq!(again.status, 304, "{path}");
        next.extend(references(&path, &text));
    }
    assert!(seen.len() > 10, "{seen:?}");
    assert!(anonymous.get("/").header("content-type").is_some_and(|t| t.starts_with("text/html")));
}
